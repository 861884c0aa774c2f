/** Attention instructions over a cache of their own, and what they should give, in double precision. */
import { expect } from "vitest";
import {
  CTRL_POSITION,
  CTRL_TOKENS,
  OP_ATTENTION,
  OP_ATTEND_TOKEN,
  OP_STORE_KV,
  SHAPE_BYTES,
  SH_SCALE,
  SH_SOFTCAP,
  SH_WINDOW,
} from "../src/abi.js";
import { kvLayerBytes, partsBytes, type KvBits } from "../src/kv-layout.js";
import { Bench, gaussian, pad, type Backend } from "./kernel-harness.js";

export const SEED = (Date.now() >> 4) & 0xffff;
/** Relative error of mixed values: sums of float32; a rounding of keys and values to 11 bits; to 8 bits of a head's largest. */
export const TOLERANCE = { 32: 3e-6, 16: 1.5e-3, 8: 3e-2 } as const satisfies Record<KvBits, number>;

export interface Case {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotary: number;
  readonly capacity: number;
  readonly bits: KvBits;
  readonly scale: number;
  readonly window?: number;
  readonly softcap?: number;
}

/** Raw queries, keys and values of a text. */
export interface Text {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

export function randomText(c: Case, tokens: number): Text {
  return {
    q: gaussian(tokens * c.heads * c.headDim, SEED),
    k: gaussian(tokens * c.kvHeads * c.headDim, SEED + 1),
    v: gaussian(tokens * c.kvHeads * c.headDim, SEED + 2),
  };
}

export const angle = (position: number, i: number, half: number): number => position * 10000 ** (-i / half);

/** A cache that holds what no kernel may read (not-a-numbers), and the instructions that fill and use it. */
export class AttentionBench {
  readonly #case: Case;
  readonly #bench: Bench;
  readonly #shape: number;
  readonly #caches: readonly number[];
  readonly #parts: number;

  constructor(backend: Backend, c: Case) {
    this.#case = c;
    this.#bench = new Bench(backend, 1);
    const { heads, kvHeads, headDim, rotary, capacity, bits, scale, window = 0, softcap } = c;
    const bytes = kvLayerBytes(bits, kvHeads, headDim, capacity);
    this.#caches = [0, 1].map(() => this.#bench.put(new Uint8Array(bytes).fill(0xff)));
    this.#parts = this.#bench.room(partsBytes(heads, headDim));
    const half = rotary / 2;
    const [cos, sin] = [Math.cos, Math.sin].map((turn) =>
      this.#bench.put(
        Float32Array.from({ length: capacity * half }, (_, i) =>
          turn(angle(Math.floor(i / half), i % half, half)),
        ),
      ),
    );
    const counters = this.#bench.put(new Int32Array(kvHeads));
    const shape = new Int32Array(SHAPE_BYTES / 4);
    shape.set([heads, kvHeads, headDim, rotary, capacity, 0, cos, sin, bits, counters]);
    shape[SH_WINDOW] = window;
    const reals = new Float32Array(shape.buffer);
    reals[SH_SCALE] = softcap === undefined ? scale * Math.LOG2E : scale / softcap;
    reals[SH_SOFTCAP] = (softcap ?? 0) * Math.LOG2E;
    this.#shape = this.#bench.put(shape);
  }

  /** Positions [from, to) as a tile or, with `single`, token by token; mixed values [to - from, heads * headDim]. */
  async run(text: Text, from: number, to: number, single: boolean, threads = 1): Promise<Float32Array> {
    const { heads, headDim } = this.#case;
    if (!single) return this.#pass(text, from, to, false, threads);
    const out = new Float32Array((to - from) * heads * headDim);
    for (let position = from; position < to; position++) {
      out.set(
        await this.#pass(text, position, position + 1, true, threads),
        (position - from) * heads * headDim,
      );
    }
    return out;
  }

  async #pass(text: Text, from: number, to: number, single: boolean, threads: number): Promise<Float32Array> {
    const { heads, kvHeads, headDim } = this.#case;
    const bench = this.#bench;
    const [features, kvFeatures] = [heads * headDim, kvHeads * headDim];
    const [stride, kvStride] = [pad(features, 32), pad(kvFeatures, 32)];
    bench.views.u32[CTRL_TOKENS >> 2] = to - from;
    bench.views.u32[CTRL_POSITION >> 2] = from;
    const q = bench.putRows(text.q.subarray(from * features, to * features), features, stride);
    const [k, v] = [text.k, text.v].map((x) =>
      bench.putRows(x.subarray(from * kvFeatures, to * kvFeatures), kvFeatures, kvStride),
    );
    const dst = bench.room((to - from) * stride * 4);
    const operands = [q, stride, dst, stride, k, v, kvStride, ...this.#caches, this.#shape, this.#parts];
    if (single) bench.emit([OP_ATTEND_TOKEN, ...operands]);
    else {
      bench.emit([OP_STORE_KV, ...operands]);
      await bench.run(threads);
      bench.emit([OP_ATTENTION, ...operands]);
    }
    await bench.run(threads);
    const out = new Float32Array((to - from) * features);
    for (let t = 0; t < to - from; t++) {
      const row = bench.read(dst + t * stride * 4, stride);
      out.set(row.subarray(0, features), t * features);
      expect(row.subarray(features), "padding").toEqual(new Float32Array(stride - features));
    }
    return out;
  }
}

/** What attention of positions [from, to) is, in double precision. */
export function truth(c: Case, text: Text, from: number, to: number): Float64Array {
  const { heads, kvHeads, headDim, rotary, scale, window = Infinity, softcap } = c;
  const bent = (score: number): number =>
    softcap === undefined ? score : softcap * Math.tanh(score / softcap);
  const rotated = (x: Float32Array, count: number, position: number, head: number): Float64Array => {
    const at = (position * count + head) * headDim;
    const y = Float64Array.from(x.subarray(at, at + headDim));
    const half = rotary / 2;
    for (let i = 0; i < half; i++) {
      const [a, b, turn] = [y[i], y[half + i], angle(position, i, half)];
      y[i] = a * Math.cos(turn) - b * Math.sin(turn);
      y[half + i] = b * Math.cos(turn) + a * Math.sin(turn);
    }
    return y;
  };
  const out = new Float64Array((to - from) * heads * headDim);
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    const keys = Array.from({ length: to }, (_, j) => rotated(text.k, kvHeads, j, kvHead));
    for (let h = 0; h < heads / kvHeads; h++) {
      const head = (kvHead * heads) / kvHeads + h;
      for (let position = from; position < to; position++) {
        const q = rotated(text.q, heads, position, head);
        const weights = keys
          .slice(0, position + 1)
          .map((key, j) =>
            j <= position - window ? 0 : Math.exp(bent(scale * key.reduce((sum, k, i) => sum + k * q[i], 0))),
          );
        const total = weights.reduce((a, b) => a + b, 0);
        weights.forEach((weight, j) => {
          for (let i = 0; i < headDim; i++)
            out[((position - from) * heads + head) * headDim + i] +=
              (weight / total) * text.v[(j * kvHeads + kvHead) * headDim + i];
        });
      }
    }
  }
  return out;
}
