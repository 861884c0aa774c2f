/** Factorises matrices, keeping the programs it compiled for the next matrix of the same shape and rank. */
import { inputError, SubbitError } from "@subbit/core";
import { choose, type FactoredChoice, type OneBitChoice } from "./choice.js";
import { type Folding, foldingOf, scaleMatrix } from "./importance.js";
import { measure } from "./measure.js";
import type { Envelope } from "./methods/method.js";
import { Programs } from "./programs.js";
import { refitEnvelope } from "./refit.js";
import { rootMeanSquare } from "./root-mean-square.js";
import { findPaths } from "./search.js";
import { zeroPath } from "./sign-path.js";
import { alignFullLatents, alignLatents, storedLinear, storedOneBit } from "./stored.js";
import type { FactorisedLinear, FactoriseOptions } from "./types.js";

export interface FactoriserOptions {
  /**
   * Threads inside one product. The engine computes on the calling thread, so several linears run side by side only in
   * several worker threads, each with a factoriser of its own. @default 1
   */
  readonly threads?: number;
}

/** A matrix with its importance folded in. */
interface Folded extends Folding {
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols], root mean square 1; absent for a matrix of zeros. */
  readonly matrix?: Float32Array;
  /** What it was divided by. */
  readonly size: number;
}

type Found = Pick<FactorisedLinear, "linear" | "latents" | "fullLatents">;

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
   * Finds signs and scales for weight [rows, cols]. Memory: a few times rows x cols + rank x (rows + cols) floats (+ cols x
   * cols with a Gram matrix). The same arguments and threads give the same bytes.
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
    const choice = choose(rows, cols, options);
    const folding = foldingOf(options.importance, rows, cols);
    const matrix = scaleMatrix(weight, folding.weights);
    const size = rootMeanSquare(matrix);
    for (let i = 0; size > 0 && i < matrix.length; i++) matrix[i] /= size;
    const folded: Folded = { ...folding, rows, cols, size, ...(size > 0 && { matrix }) };
    const found =
      choice.kind === "onebit"
        ? await this.#oneBit(weight, folded, choice, options)
        : await this.#factored(folded, choice, options);
    const errors = await measure(weight, found.linear, this.#programs, options.importance);
    return { ...found, ...errors, seconds: (performance.now() - start) / 1000 };
  }

  /** Frees the compiled programs. */
  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }

  async #factored(folded: Folded, choice: FactoredChoice, options: FactoriseOptions): Promise<Found> {
    const { matrix, gram, rows, cols, weights, size } = folded;
    const paths = matrix
      ? await findPaths({ weight: matrix, gram, rows, cols, choice, programs: this.#programs, options })
      : choice.ranks.map((rank) => zeroPath({ rows, cols, rank }, choice.midScale, choice.envelope));
    const linear = storedLinear(paths, { rows, cols }, weights, size, choice.scaleBits);
    return { linear, latents: alignLatents(paths, linear) };
  }

  async #oneBit(
    weight: Float32Array,
    folded: Folded,
    { start, iterations, scaleBits }: OneBitChoice,
    { seed = 0, onProgress }: FactoriseOptions,
  ): Promise<Found> {
    const { matrix, gram, rows, cols, weights, size } = folded;
    let envelope: Envelope = { outScales: new Float32Array(rows), inScales: new Float32Array(cols) };
    if (matrix) {
      envelope = start.find({ rows, cols, weight: matrix, weights, iterations, seed });
      if (gram) envelope = await refitEnvelope(matrix, envelope, gram, this.#programs);
    }
    onProgress?.({ stage: "factorise", done: iterations, total: iterations, unit: "steps" });
    const linear = storedOneBit(weight, envelope, weights, size, scaleBits);
    return { linear, latents: [], fullLatents: alignFullLatents(weight, linear) };
  }
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
