/**
 * Times kernels where they run: products lowered as a model's are, many of them in one memory, each repeated in one program.
 * For benchmarks only; not part of the package's interface.
 */
import { CTRL_TOKENS } from "../abi.js";
import { planExecution, type ExecutionPlan } from "../executors/open.js";
import type { Capabilities, Executor } from "../executors/types.js";
import { allocateScratch } from "../program/allocate.js";
import { setControl, writeProgram, type Segment } from "../program/build.js";
import type { Value } from "../program/draft.js";
import { Emitter, type SignBits } from "../program/emitter.js";
import { emitDense } from "../program/lowering/dense.js";
import { schedule, type Level } from "../program/schedule.js";
import { ROW_PAD } from "../abi.js";
import { Arena } from "../weights/arena.js";
import { BITS_OF_DTYPE, pad } from "../weights/place.js";
import { emitTerms, type TermsForm } from "./emit-terms.js";
import { placeRandomDense, placeRandomFactored } from "./random-weights.js";

/** y = W x for `tokens` tokens at once. */
export type Product =
  | {
      readonly kind: "factored";
      readonly rows: number;
      readonly rank: number;
      readonly cols: number;
      readonly tokens: number;
      /** @default 12 */
      readonly signBits?: SignBits;
      /** l @default 1 */
      readonly envelope?: number;
      /** @default "shared" */
      readonly terms?: TermsForm;
    }
  | {
      readonly kind: "dense";
      readonly dtype: keyof typeof BITS_OF_DTYPE;
      readonly rows: number;
      readonly cols: number;
      readonly tokens: number;
    };

/** Multiply-accumulates (for signs: additions) of one product by its 2 l terms, tables not counted. */
export function macsOf(product: Product): number {
  const { rows, cols, tokens } = product;
  if (product.kind === "dense") return tokens * rows * cols;
  return tokens * (product.envelope ?? 1) * product.rank * (rows + cols);
}

/** Bytes of weights that one product reads, scales aside. */
export function weightBytesOf(product: Product): number {
  const { rows, cols } = product;
  if (product.kind === "factored") return (product.rank * (rows + cols)) / 8;
  return (rows * cols * BITS_OF_DTYPE[product.dtype]) / 8;
}

export function signBitsOf(product: Product): SignBits {
  return (product.kind === "factored" ? product.signBits : undefined) ?? 12;
}

interface Placed {
  readonly segment: Segment;
  readonly tokens: number;
  readonly repeats: number;
}

/** What one run of a product is to take, so that a message to the threads does not count. */
const RUN_MS = 15;
/** Multiply-accumulates a millisecond, roughly, to choose repeats by. */
const GUESS = { factored: 60e6, dense: 6e6 };
const MAX_REPEATS = 1000;

export class KernelBoard {
  readonly capabilities: Capabilities;
  readonly #arena: Arena;
  readonly #plan: ExecutionPlan;
  readonly #placed: Placed[] = [];
  readonly #levels: Level[] = [];
  #executor: Executor | undefined;

  private constructor(plan: ExecutionPlan) {
    this.#plan = plan;
    this.#arena = new Arena(plan.shared);
    this.capabilities = plan.capabilities;
  }

  static async create(threads: number): Promise<KernelBoard> {
    return new KernelBoard(await planExecution("cpu", threads));
  }

  /** Places the product with random weights and input; its index for `run`. All are added before the first run. */
  add(product: Product): number {
    const arena = this.#arena;
    const { rows, cols, tokens } = product;
    const emitter = new Emitter(tokens === 1 ? "token" : "tile", signBitsOf(product));
    const inputs = pad(cols, ROW_PAD);
    const x: Value = { ...emitter.rows(cols), address: placeInput(arena, inputs, cols, tokens) };
    const y = emitter.rows(rows);
    if (product.kind === "factored") {
      emitTerms(emitter, x, placeRandomFactored(arena, product), y, product.terms ?? "shared");
    } else {
      emitDense(emitter, x, placeRandomDense(arena, product.dtype, rows, cols), y, false);
    }
    const levels = schedule(emitter.take());
    const scratch = allocateScratch([levels], [[y]], tokens);
    const base = arena.allocate(scratch.bytes);
    const addressOf = (value: Value): number => value.address ?? base + (scratch.offsets.get(value) ?? 0);
    const guess = macsOf(product) / GUESS[product.kind];
    const repeats = Math.max(1, Math.min(MAX_REPEATS, Math.round(RUN_MS / guess)));
    const parts = Array.from({ length: repeats }, () => ({ levels, output: y }));
    const segments = writeProgram(arena, parts, addressOf);
    this.#levels.push(...levels);
    const segment = { start: segments[0].start, end: segments[repeats - 1].end };
    return this.#placed.push({ segment, tokens, repeats }) - 1;
  }

  /** Milliseconds of one product, barriers and table building included. */
  async run(index: number): Promise<number> {
    const { segment, tokens, repeats } = this.#placed[index];
    this.#executor ??= await this.#open();
    new Uint32Array(this.#arena.memory.buffer)[CTRL_TOKENS >>> 2] = tokens;
    const begin = performance.now();
    await this.#executor.run(segment.start, segment.end);
    return (performance.now() - begin) / repeats;
  }

  async dispose(): Promise<void> {
    await this.#executor?.dispose();
  }

  async #open(): Promise<Executor> {
    const { threads } = this.capabilities;
    const [output] = this.#levels[0][0].writes;
    setControl(this.#arena, [{ levels: this.#levels, output }], threads);
    const executor = this.#plan.open(this.#arena.memory, threads);
    if ("ready" in executor) await executor.ready();
    return executor;
  }
}

/** Numbers between -1 and 1, padding zero. */
function placeInput(arena: Arena, stride: number, cols: number, tokens: number): number {
  const at = arena.allocate(stride * tokens * 4);
  const floats = arena.floats(at, stride * tokens);
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < cols; i++) floats[token * stride + i] = Math.random() + Math.random() - 1;
  }
  return at;
}
