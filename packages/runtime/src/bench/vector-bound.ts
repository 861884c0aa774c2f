/**
 * Two ceilings of the sign kernel on this processor, from its inner loop alone:
 * - `arithmetic`: the vector operations with tables in registers, so that each is ready when a port is free; only the weights
 *   are loaded, from the first cache
 * - `loads`: the same with the loads of tables that the loop has, all from the first cache
 * What the kernel does not reach is lost to farther memory, building tables, ends of blocks and barriers.
 * The module is written byte by byte, so that no compiler rearranges what is counted.
 */
import type { Executor } from "../executors/types.js";
import { workerExecutor } from "../executors/workers.js";
import { isNode, probeWasm } from "../wasm/probes.js";

/** Signs that one turn of the loop stands for: 16 rows by 32 inputs, as in assembly/sign-product.ts. */
const SIGNS_A_TURN = 512;
/** Some ten milliseconds. */
const TURNS = 2_000_000;

const V128 = 0x7b;
const I32 = 0x7f;
const SIMD = 0xfd;
const OP = {
  swizzle: [14],
  relaxedSwizzle: [0x80, 2],
  and: [78],
  add8: [110],
  add16: [0x8e, 1],
  shiftRight16: [0x8d, 1],
  splat8: [15],
  load: [0],
  store: [11],
} as const;
const [ADD, AND, OR, SHIFT_LEFT, LESS] = [0x6a, 0x71, 0x72, 0x74, 0x49];
const [LOOP, BRANCH_IF, END, EMPTY, TEE] = [0x03, 0x0d, 0x0b, 0x40, 0x22];

/** Weights are read from [WINDOW, WINDOW + WINDOW_MASK + 64), beyond what the runtime's control block uses. */
const WINDOW = 8192;
const WINDOW_MASK = 4095;
/** And tables from as much at this place. */
const TABLE_WINDOW = 16_384;
const RESULT = 4096;

/** Locals after the two parameters: vectors, then an address. */
const MASK = 2;
const TABLES = [3, 4];
const SUMS = [5, 6, 7, 8];
const INDICES = [9, 10, 11, 12];
const SUM = 13;
const ADDRESS = 14;
const VECTORS = SUM - 1;

export type BoundKind = "arithmetic" | "loads";

/** One core for each of `threads`: turns of the loop on all of them at the same time. */
export class VectorBound {
  readonly #executors: readonly Executor[];

  private constructor(executors: readonly Executor[]) {
    this.#executors = executors;
  }

  static async create(threads: number, kind: BoundKind): Promise<VectorBound> {
    const { relaxedSimd } = await probeWasm();
    const module = await WebAssembly.compile(boundModule(relaxedSimd, kind));
    const { spawnNodeThread } = await import("../node/spawn-thread.js");
    if (!isNode()) throw new RangeError("The bound is measured in Node.");
    const open = (): Executor => {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      return workerExecutor(spawnNodeThread, module, memory, { threads: 1, cpus: 1 });
    };
    return new VectorBound(Array.from({ length: threads }, open));
  }

  /** Billions of sign additions a second, over all threads. */
  async run(): Promise<number> {
    const begin = performance.now();
    await Promise.all(this.#executors.map((executor) => executor.run(0, TURNS)));
    const ms = performance.now() - begin;
    return (SIGNS_A_TURN * TURNS * this.#executors.length) / (ms * 1e6);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#executors.map((executor) => executor.dispose()));
  }
}

/** (module (import "env" "memory") (func (export "dispatch") (param i32 i32) ...)); the worker calls dispatch(start, end). */
function boundModule(relaxed: boolean, kind: BoundKind): Uint8Array<ArrayBuffer> {
  const types = [1, 0x60, 2, I32, I32, 0];
  const imports = [1, ...text("env"), ...text("memory"), 2, 3, ...leb(1), ...leb(1)];
  const exports = [1, ...text("dispatch"), 0, 0];
  const body = [2, VECTORS, V128, 1, I32, ...loopBody(relaxed, kind), 0x0b];
  const code = [1, ...leb(body.length), ...body];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, imports),
    ...section(3, [1, 0]),
    ...section(7, exports),
    ...section(10, code),
  ]);
}

/** A turn: two halves of two weight vectors each, 26 vector operations a half. */
function loopBody(relaxed: boolean, kind: BoundKind): number[] {
  const lookup = relaxed ? OP.relaxedSwizzle : OP.swizzle;
  // Values that the compiler cannot know, and no two alike: it would compute equal things once.
  const seed = [...TABLES, ...SUMS].flatMap((local) => [
    ...[...get(1), ...constant(local), ADD],
    ...[...simd(OP.splat8), ...set(local)],
  ]);
  const mask = [...get(0), ...constant(15), OR, ...simd(OP.splat8), ...set(MASK)];
  // 64 bytes on, within a window that stays in the first cache.
  const address = [...get(0), ...constant(6), SHIFT_LEFT, ...constant(WINDOW_MASK), AND, ...set(ADDRESS)];
  const turn = [...address, ...half(lookup, kind, 0), ...half(lookup, kind, 32)];
  const step = [...get(0), ...constant(1), ADD, TEE, 0, ...get(1), LESS, BRANCH_IF, 0];
  // The sums end in memory, or the loop would be nobody's business.
  const sums = SUMS.flatMap((local, i) => (i === 0 ? get(local) : [...get(local), ...simd(OP.add16)]));
  const store = [...constant(RESULT), ...sums, ...simd(OP.store), 4, 0];
  return [...seed, ...mask, LOOP, EMPTY, ...turn, ...step, END, ...store];
}

function half(lookup: readonly number[], kind: BoundKind, offset: number): number[] {
  const indices = [0, 1].flatMap((i) => {
    const [low, high] = [INDICES[2 * i], INDICES[2 * i + 1]];
    return [
      ...[...load(WINDOW + offset + 16 * i), ...set(high)],
      ...[...get(high), ...get(MASK), ...simd(OP.and), ...set(low)],
      ...[
        ...get(high),
        ...constant(4),
        ...simd(OP.shiftRight16),
        ...get(MASK),
        ...simd(OP.and),
        ...set(high),
      ],
    ];
  });
  const table = (part: number, i: number): number[] =>
    kind === "loads" ? load(TABLE_WINDOW + 4 * offset + 32 * i + 16 * part) : get(TABLES[(part + i) % 2]);
  return [
    ...indices,
    ...quarter(lookup, (i) => table(0, i), SUMS[0], SUMS[1]),
    ...quarter(lookup, (i) => table(1, i), SUMS[2], SUMS[3]),
  ];
}

/** Four lookups added as bytes, then widened: raw += s, odd += s >>> 8. */
function quarter(
  lookup: readonly number[],
  table: (i: number) => number[],
  raw: number,
  odd: number,
): number[] {
  const one = (i: number): number[] => [...table(i), ...get(INDICES[i]), ...simd(lookup)];
  const pair = (i: number): number[] => [...one(i), ...one(i + 1), ...simd(OP.add8)];
  return [
    ...[...pair(0), ...pair(2), ...simd(OP.add8), ...set(SUM)],
    ...[...get(raw), ...get(SUM), ...simd(OP.add16), ...set(raw)],
    ...[...get(odd), ...get(SUM), ...constant(8), ...simd(OP.shiftRight16), ...simd(OP.add16), ...set(odd)],
  ];
}

const load = (at: number): number[] => [...get(ADDRESS), ...simd(OP.load), 4, ...leb(at)];
const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const simd = (op: readonly number[]): number[] => [SIMD, ...op];

function section(id: number, content: readonly number[]): number[] {
  return [id, ...leb(content.length), ...content];
}

function text(word: string): number[] {
  return [word.length, ...new TextEncoder().encode(word)];
}

/** i32.const of a number from 0 on. */
function constant(value: number): number[] {
  const bytes = leb(value);
  // The constant is signed: its last byte must not look negative.
  if ((bytes[bytes.length - 1] & 64) === 0) return [0x41, ...bytes];
  return [0x41, ...bytes.slice(0, -1), bytes[bytes.length - 1] | 128, 0];
}

/** Unsigned, seven bits a byte. */
function leb(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest & 127) | 128);
  }
}
