/** Runs one instruction on fresh memory by WebAssembly (baseline or relaxed SIMD) or by its twin, and reads what it wrote. */
import {
  CTRL_END,
  CTRL_NIBBLE_MASK,
  CTRL_POSITION,
  CTRL_SCRATCH,
  CTRL_SCRATCH_STRIDE,
  CTRL_THREADS,
  CTRL_TOKENS,
  CTRL_TOKEN_IDS,
  INSTRUCTION_BYTES,
  INSTRUCTION_WORDS,
} from "../src/abi.js";
import { runTwins } from "../src/twins/interpreter.js";
import { viewMemory, type MemoryViews } from "../src/twins/memory.js";
import { expect } from "vitest";
import { compileKernels, instantiateKernels } from "../src/wasm/compile.js";
import { probeWasm } from "../src/wasm/probes.js";

export type Backend =
  "twin" | "fused twin" | "baseline" | "relaxed" | "baseline, unshared" | "relaxed, unshared";
/** Each twin before the kernels that it equals. */
export const ALL_BACKENDS: readonly Backend[] = [
  "twin",
  "baseline",
  "baseline, unshared",
  "fused twin",
  "relaxed",
  "relaxed, unshared",
];

const PAGES = 512;
const MAX_THREADS = 4;
const PROGRAM = CTRL_END;

/** Memory with a bump allocator and one instruction. */
export class Bench {
  readonly memory: WebAssembly.Memory;
  readonly views: MemoryViews;
  readonly backend: Backend;
  #next = PROGRAM + 64 * INSTRUCTION_BYTES;
  #instructions = 0;

  constructor(backend: Backend, tokens: number, position = 0) {
    this.backend = backend;
    const shared = backend === "baseline" || backend === "relaxed";
    this.memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared });
    this.views = viewMemory(this.memory.buffer, backend === "fused twin");
    const { u32, u8 } = this.views;
    u8.fill(15, CTRL_NIBBLE_MASK, CTRL_NIBBLE_MASK + 16);
    u32[CTRL_THREADS >> 2] = 1;
    u32[CTRL_TOKENS >> 2] = tokens;
    u32[CTRL_POSITION >> 2] = position;
    u32[CTRL_SCRATCH >> 2] = this.room(MAX_THREADS << 18);
    u32[CTRL_SCRATCH_STRIDE >> 2] = 1 << 18;
  }

  /** Byte address of `bytes` of room filled with a pattern that no kernel may rely on. */
  room(bytes: number): number {
    const at = this.#next;
    this.#next += Math.ceil(bytes / 64) * 64;
    if (this.#next > PAGES * 65536) throw new Error("the bench is full");
    this.views.f32.fill(123.5, at >> 2, this.#next >> 2);
    return at;
  }

  put(values: Float32Array | Uint8Array | Int8Array | Uint16Array | Int32Array): number {
    const at = this.room(values.byteLength);
    this.views.u8.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    return at;
  }

  /** Rows of `features` values, each padded with zeros to `stride`. */
  putRows(values: Float32Array, features: number, stride: number): number {
    const rows = values.length / features;
    const padded = new Float32Array(rows * stride);
    for (let r = 0; r < rows; r++) padded.set(values.subarray(r * features, (r + 1) * features), r * stride);
    return this.put(padded);
  }

  setIds(ids: number[]): void {
    this.views.i32.set(ids, CTRL_TOKEN_IDS >> 2);
  }

  /** `words` of integers; numbers in `reals` are stored as f32 at their index. */
  emit(words: readonly number[], reals: Readonly<Record<number, number>> = {}): void {
    const at = (PROGRAM >> 2) + this.#instructions++ * INSTRUCTION_WORDS;
    this.views.u32.set(words, at);
    for (const [index, value] of Object.entries(reals)) this.views.f32[at + Number(index)] = value;
  }

  /** @param threads whose shares are run one after the other, last first; with more than one no barrier may be needed */
  async run(threads = 1): Promise<void> {
    const end = PROGRAM + this.#instructions * INSTRUCTION_BYTES;
    if (this.backend.endsWith("twin")) runTwins(this.views, PROGRAM, end);
    else {
      await probeWasm();
      const simd = this.backend.startsWith("relaxed") ? "relaxed" : "baseline";
      const module = await compileKernels(simd, !this.backend.endsWith("unshared"));
      const kernels = instantiateKernels(module, this.memory);
      if (threads === 1) kernels.dispatch(PROGRAM, end);
      else for (let t = threads - 1; t >= 0; t--) kernels.runProgram(PROGRAM, end, t, threads);
    }
    this.#instructions = 0;
  }

  read(at: number, count: number): Float32Array {
    return this.views.f32.slice(at >> 2, (at >> 2) + count);
  }
}

/** Normal deviates from a small generator (mulberry32 and Box-Muller): same seed, same numbers. */
export function gaussian(count: number, seed: number): Float32Array {
  const uniform = generator(seed);
  return Float32Array.from({ length: count }, () => {
    const u = 1 - uniform();
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * uniform());
  });
}

export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** |got - want| / |want|, Frobenius. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < want.length; i++) {
    difference += (got[i] - want[i]) ** 2;
    size += want[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

export function maxDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i] - want[i]);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

export function pad(n: number, to: number): number {
  return Math.ceil(n / to) * to;
}

/**
 * For a loop over ALL_BACKENDS: expects what every kernel gives to equal what its twin gave, bit for bit.
 */
export function twinCheck(): (backend: Backend, got: Float32Array) => void {
  let twin: Float32Array | undefined;
  return (backend, got) => {
    if (backend.endsWith("twin")) twin = got;
    else expect(got, `${backend} against its twin`).toEqual(twin);
  };
}
