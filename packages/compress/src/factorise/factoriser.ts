/** Factorises matrices, keeping the programs it compiled for the next matrix of the same shape and rank. */
import { type FactoredLinear, inputError, rankForBits, smallestBpw, SubbitError } from "@subbit/core";
import type { AdmmShape } from "./admm-program.js";
import type { RawPath } from "./admm.js";
import { importanceWeights, scaleMatrix } from "./importance.js";
import { measure } from "./measure.js";
import type { Method } from "./methods/method.js";
import { METHODS } from "./methods/registry.js";
import { Programs } from "./programs.js";
import { refit, scaledSigns } from "./refit.js";
import { alignLatents, storedLinear, zeroPath } from "./stored.js";
import type { FactorisedLinear, FactoriseMethod, FactoriseOptions } from "./types.js";

export interface FactoriserOptions {
  /**
   * Threads inside one product. The engine computes on the calling thread, so several linears run side by side only in
   * several worker threads, each with a factoriser of its own. @default 1
   */
  readonly threads?: number;
}

/** How a method stores a linear: what the planning of ranks needs to know. */
export interface MethodForm {
  readonly midScale: boolean;
  readonly paths: number;
}

/** Throws `usage` for a name that is no method. */
export function methodForm(method: FactoriseMethod): MethodForm {
  const { midScale, paths } = methodOf(method);
  return { midScale, paths };
}

export class Factoriser {
  readonly #programs: Programs;

  constructor(options: FactoriserOptions = {}) {
    const { threads = 1 } = options;
    if (!(Number.isInteger(threads) && threads >= 1)) {
      throw new SubbitError("usage", `${threads} threads were asked for; give a whole number of at least 1.`);
    }
    this.#programs = new Programs(threads);
  }

  /**
   * Finds signs and scales for weight [rows, cols]. Memory: a few times rows x cols + rank x (rows + cols) floats. The
   * same arguments and threads give the same bytes.
   *
   * Throws `input` for a weight that does not fit its shape or is not finite, a bad importance, or a budget below the
   * smallest possible; `usage` for contradictory options; `interrupted` when the signal fires.
   */
  async factorise(
    weight: Float32Array,
    rows: number,
    cols: number,
    options: FactoriseOptions,
  ): Promise<FactorisedLinear> {
    const start = performance.now();
    checkWeight(weight, rows, cols);
    const method = methodOf(options.method ?? "auto");
    const paths = positive("paths", options.paths ?? method.paths);
    const shape = { rows, cols, rank: chooseRank(method, rows, cols, paths, options) };
    const weights = importanceWeights(options.importance, rows, cols);
    const size = rootMeanSquare(scaleMatrix(weight, weights));
    const folded = size > 0 ? scaleMatrix(weight, weights, 1 / size) : undefined;
    const raw = folded
      ? await this.#paths(method, folded, shape, paths, options)
      : Array.from({ length: paths }, () => zeroPath(shape, method.midScale));
    const linear = storedLinear(raw, shape, weights, size);
    const latents = alignLatents(raw, linear);
    const errors = await this.#errors(weight, linear, shape, options);
    return { linear, latents, ...errors, seconds: (performance.now() - start) / 1000 };
  }

  /** Frees the compiled programs. */
  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }

  /** Each path fits what the ones before left of `weight`. */
  async #paths(
    method: Method,
    weight: Float32Array,
    shape: AdmmShape,
    paths: number,
    options: FactoriseOptions,
  ): Promise<RawPath[]> {
    const iterations = positive("iterations", options.iterations ?? method.iterations);
    const found: RawPath[] = [];
    let left = weight;
    for (let path = 0; path < paths; path++) {
      const task = {
        shape,
        weight: left,
        iterations,
        path,
        programs: this.#programs,
        signal: options.signal,
      };
      const first = await method.factorise({
        ...task,
        seed: options.seed ?? 0,
        onIteration: (done) =>
          options.onProgress?.({
            stage: "factorise",
            done: path * iterations + done,
            total: paths * iterations,
            unit: "steps",
          }),
      });
      const fitted = method.refit ? await this.#refit(left, first, shape) : first;
      found.push(fitted);
      if (path + 1 < paths) left = await this.#residual(left, fitted, shape);
    }
    return found;
  }

  async #refit(weight: Float32Array, path: RawPath, shape: AdmmShape): Promise<RawPath> {
    const dots = await this.#programs.dots(shape);
    if (!path.midScales) return refit(weight, path, { dots });
    return refit(weight, path, { dots, middle: await this.#programs.middle(shape) });
  }

  async #residual(weight: Float32Array, path: RawPath, shape: AdmmShape): Promise<Float32Array> {
    const program = await this.#programs.residual(shape);
    const left = scaledSigns(path.outLatents, path.outScales, shape.rows, path.midScales);
    const right = scaledSigns(path.inLatents, path.inScales, shape.cols);
    return (await program.run({ weight, left, right })).residual;
  }

  async #errors(
    weight: Float32Array,
    linear: FactoredLinear,
    shape: AdmmShape,
    { importance }: FactoriseOptions,
  ): Promise<{ relError: number; weightedRelError: number }> {
    return measure(weight, linear, await this.#programs.residual(shape), importance);
  }
}

function methodOf(name: FactoriseMethod): Method {
  const method = (METHODS as Partial<Record<string, Method>>)[name];
  if (!method) {
    const known = Object.keys(METHODS).join(", ");
    throw new SubbitError(
      "usage",
      `The factorisation method ${name} does not exist; choose one of ${known}.`,
    );
  }
  return method;
}

function chooseRank(
  method: Method,
  rows: number,
  cols: number,
  paths: number,
  { rank, bpw }: FactoriseOptions,
): number {
  if ((rank === undefined) === (bpw === undefined)) {
    throw new SubbitError(
      "usage",
      "Give a factorisation either a rank or bits per weight, not both or neither.",
    );
  }
  const budget = { rows, cols, paths, midScale: method.midScale };
  const chosen = bpw === undefined ? positive("rank", rank) : rankForBits({ ...budget, bpw });
  if (!(chosen >= 1)) {
    throw inputError(
      `${bpw} bits per weight were asked for, but a ${rows} x ${cols} matrix needs at least ` +
        `${smallestBpw(budget).toFixed(4)} in this form; ask for more.`,
    );
  }
  return method.overcomplete ? chosen : Math.min(chosen, rows, cols);
}

function checkWeight(weight: Float32Array, rows: number, cols: number): void {
  if (!(Number.isInteger(rows) && Number.isInteger(cols) && rows >= 1 && cols >= 1)) {
    throw inputError(
      `A matrix of ${rows} x ${cols} cannot be factorised; it needs at least one row and column.`,
    );
  }
  if (weight.length !== rows * cols) {
    throw inputError(`A ${rows} x ${cols} matrix has ${rows * cols} entries, it was given ${weight.length}.`);
  }
  const bad = weight.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw inputError(
      `The weight holds ${weight[bad]} at row ${Math.floor(bad / cols)}, column ${bad % cols}; ` +
        `only finite weights can be factorised.`,
    );
  }
}

function positive(name: string, value: number | undefined): number {
  if (value === undefined || !Number.isInteger(value) || value < 1) {
    throw new SubbitError(
      "usage",
      `The ${name} of a factorisation is ${value}; give a whole number of at least 1.`,
    );
  }
  return value;
}

/** Twice: the first sum tells the size by which the second is kept from over- and underflow. */
function rootMeanSquare(matrix: Float32Array): number {
  let largest = 0;
  for (const value of matrix) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return 0;
  let sum = 0;
  for (const value of matrix) sum += (value / largest) ** 2;
  return largest * Math.sqrt(sum / matrix.length);
}
