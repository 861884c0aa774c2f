/**
 * Muon (Jordan et al., 2024): momentum whose matrix is replaced by (nearly) its orthogonal polar factor, found by five
 * quintic Newton-Schulz steps on the engine. The update's root mean square is matched to AdamW's (factor
 * 0.2 sqrt(max(rows, cols)); Liu et al., 2025, "Muon is scalable for LLM training"), so rates carry over.
 */
import { SubbitError } from "@subbit/core";
import { Graph, type Value } from "../graph/graph.js";
import { add, div, matmul, mul, reduceSum, sqrt, square } from "../ops/index.js";
import { compile, type CompileOptions, type Program } from "../program.js";

export interface MuonGroup {
  readonly name: string;
  /** [rows, cols], updated in place. */
  readonly values: Float32Array;
  readonly rows: number;
  readonly cols: number;
  /** Multiplies the step's learning rate. @default 1 */
  readonly rate?: number;
  /** Decoupled weight decay, per unit of learning rate. @default 0 */
  readonly weightDecay?: number;
}

export interface MuonOptions extends CompileOptions {
  /** @default 0.95 */
  readonly momentum?: number;
}

/** All there is to resume from, bit for bit, together with the values themselves. */
export interface MuonState {
  readonly momentum: Readonly<Record<string, Float32Array>>;
}

/** Coefficients that raise small singular values fastest while all end between about 0.7 and 1.2. */
const [LINEAR, CUBIC, QUINTIC] = [3.4445, -4.775, 2.0315] as const;
const NEWTON_SCHULZ_STEPS = 5;
/** Keeps an all-zero gradient at zero. */
const NORM_EPS = 1e-20;
const RMS_OF_ADAMW = 0.2;

/** What a nearly orthogonal [rows, cols] is multiplied with to have the root mean square of an AdamW update. */
export function muonScale(rows: number, cols: number): number {
  return RMS_OF_ADAMW * Math.sqrt(Math.max(rows, cols));
}

export class Muon {
  readonly #groups: readonly MuonGroup[];
  readonly #momentum: readonly Float32Array[];
  readonly #decay: number;
  readonly #compile: CompileOptions;
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(groups: readonly MuonGroup[], { momentum = 0.95, ...compileOptions }: MuonOptions = {}) {
    this.#groups = groups;
    this.#decay = momentum;
    this.#compile = compileOptions;
    this.#momentum = groups.map(({ values }) => new Float32Array(values.length));
  }

  /** One step with Nesterov momentum; `grads` holds an array per group name, `gradScale` multiplies it. */
  async step(grads: Readonly<Record<string, Float32Array>>, lr: number, gradScale = 1): Promise<void> {
    for (const [index, group] of this.#groups.entries()) {
      const grad = grads[group.name];
      if (grad?.length !== group.values.length) {
        throw new SubbitError(
          "internal",
          `Muon was given no gradient of ${group.values.length} elements for ${group.name}.`,
        );
      }
      const direction = this.#advance(this.#momentum[index], grad, gradScale);
      const { rows, cols, values, rate = 1, weightDecay = 0 } = group;
      const program = await this.#program(rows, cols);
      const update = (await program.run({ x: direction }))["y"];
      const stepSize = lr * rate * muonScale(rows, cols);
      const keep = 1 - lr * rate * weightDecay;
      for (let i = 0; i < values.length; i++) {
        values[i] = keep * values[i] - stepSize * update[i];
      }
    }
  }

  /** The state itself, not a copy: store it before the next step. */
  state(): MuonState {
    const entries = this.#groups.map(({ name }, index) => [name, this.#momentum[index]] as const);
    return { momentum: Object.fromEntries(entries) };
  }

  /** Continues from a stored state; throws `input` when it belongs to other groups. */
  restore(state: MuonState): void {
    this.#groups.forEach(({ name, values }, index) => {
      const stored = state.momentum[name];
      if (stored?.length !== values.length) {
        throw new SubbitError(
          "input",
          `The stored optimizer state has no momentum of ${values.length} elements for ${name}.`,
        );
      }
      this.#momentum[index].set(stored);
    });
  }

  /** Frees the programs. */
  async dispose(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await (await program).dispose();
  }

  #advance(momentum: Float32Array, grad: Float32Array, gradScale: number): Float32Array {
    const direction = new Float32Array(grad.length);
    for (let i = 0; i < grad.length; i++) {
      const g = grad[i] * gradScale;
      const next = this.#decay * momentum[i] + g;
      momentum[i] = next;
      direction[i] = g + this.#decay * next;
    }
    return direction;
  }

  #program(rows: number, cols: number): Promise<Program> {
    const key = `${rows} ${cols}`;
    const program = this.#programs.get(key) ?? compile(newtonSchulzGraph(rows, cols), this.#compile);
    this.#programs.set(key, program);
    return program;
  }
}

/** `x` [rows, cols] -> `y`, nearly its orthogonal polar factor. */
export function newtonSchulzGraph(rows: number, cols: number): Graph {
  const graph = new Graph();
  graph.output("y", nearlyOrthogonal(graph.input("x", [rows, cols])));
  return graph;
}

/** The same as a value of any graph. */
export function nearlyOrthogonal(x: Value): Value {
  const [rows, cols] = x.shape as readonly [number, number];
  let y: Value = div(x, add(sqrt(reduceSum(square(x))), NORM_EPS));
  for (let step = 0; step < NEWTON_SCHULZ_STEPS; step++) {
    // The smaller of the two Gram matrices, on the side it belongs to.
    const gram = rows <= cols ? matmul(y, y, { transB: true }) : matmul(y, y, { transA: true });
    const polynomial = add(mul(gram, CUBIC), mul(matmul(gram, gram), QUINTIC));
    y = add(mul(y, LINEAR), rows <= cols ? matmul(polynomial, y) : matmul(y, polynomial));
  }
  return y;
}
