/** Attention over caches of every width: against sums in double precision, its twin, and itself on more threads. */
import { describe, expect, it } from "vitest";
import { OP_HEADS } from "../src/abi.js";
import { KV_BITS } from "../src/kv-layout.js";
import { AttentionBench, SEED, TOLERANCE, angle, randomText, truth } from "./attention-bench.js";
import {
  ALL_BACKENDS,
  Bench,
  gaussian,
  generator,
  maxDifference,
  pad,
  relativeError,
  twinCheck,
} from "./kernel-harness.js";

/** [window, soft cap], 0 for none: below, at and above a block of 32, whole blocks hidden from some rows of a block only. */
const WINDOWS = [
  [1, 0],
  [7, 0.7],
  [32, 0],
  [33, 0],
  [64, 1.5],
  [0, 0.3],
] as const;

/** `SUBBIT_SLOW_TESTS=1` for a thousand. */
const RANDOM_CASES = process.env.SUBBIT_SLOW_TESTS === "1" ? 1000 : 10;

/** The twins are slow: a thousand cases take some minutes. */
const RANDOM_TIMEOUT_MS = 900_000;

/** [heads, kvHeads, headDim, rotary, positions]; the last has blocks enough for eight parts. */
const SHAPES = [
  [1, 1, 4, 4, 5],
  [9, 3, 64, 64, 70],
  [4, 2, 12, 12, 40],
  [6, 2, 20, 8, 100],
  [5, 1, 7, 0, 37],
  [8, 8, 16, 16, 33],
  [10, 5, 80, 80, 66],
  [2, 1, 256, 128, 34],
  [33, 1, 8, 8, 65],
  [64, 64, 4, 4, 40],
] as const;

describe(`attention, seed ${SEED}`, () => {
  it.each(SHAPES.flatMap((shape) => KV_BITS.map((bits) => [...shape, bits] as const)))(
    "%i heads over %i kv heads of %i (%i rotated), %i positions, %i bits",
    async (heads, kvHeads, headDim, rotary, positions, bits) => {
      const c = {
        heads,
        kvHeads,
        headDim,
        rotary,
        bits,
        capacity: pad(positions, 32) + 32,
        scale: 1.5 / Math.sqrt(headDim),
      };
      const text = randomText(c, positions);
      const [cut, last] = [positions - 4, positions - 2];
      const want = truth(c, text, cut, positions);
      const check = twinCheck();
      for (const backend of ALL_BACKENDS) {
        const bench = new AttentionBench(backend, c);
        for (let at = 0; at < cut; at += 23) await bench.run(text, at, Math.min(at + 23, cut), false);
        const tile = await bench.run(text, cut, last, false);
        const tokens = await bench.run(text, last, positions, true);
        const got = Float32Array.from([...tile, ...tokens]);
        expect(relativeError(got, want), backend).toBeLessThan(TOLERANCE[bits]);
        check(backend, got);
        // The same positions again, the other way round.
        expect(await bench.run(text, cut, positions, false), `${backend}, as a tile`).toEqual(got);
        expect(await bench.run(text, cut, positions, true), `${backend}, as tokens`).toEqual(got);
      }
    },
  );

  it(
    `of ${RANDOM_CASES} random shapes is its twin's, cut for any number of threads`,
    async () => {
      const next = generator(SEED + 9);
      const below = (n: number): number => Math.floor(next() * n);
      for (let i = 0; i < RANDOM_CASES; i++) {
        const [kvHeads, headDim, positions] = [1 + below(4), 1 + below(70), 2 + below(70)];
        const c = {
          heads: kvHeads * (1 + below(4)),
          kvHeads,
          headDim,
          rotary: 2 * below(Math.floor(headDim / 2) + 1),
          bits: KV_BITS[below(KV_BITS.length)],
          capacity: pad(positions, 32),
          scale: 1 / Math.sqrt(headDim),
          ...(below(2) === 1 && { window: 1 + below(40) }),
          ...(below(3) === 0 && { softcap: 0.5 + next() }),
        };
        const [text, threads, cut] = [randomText(c, positions), 1 + below(4), 1 + below(positions - 1)];
        const check = twinCheck();
        for (const backend of ALL_BACKENDS) {
          const count = backend.endsWith("twin") ? 1 : threads;
          const bench = new AttentionBench(backend, c);
          const tile = await bench.run(text, 0, cut, false, count);
          check(backend, Float32Array.from([...tile, ...(await bench.run(text, cut, cut + 1, true, count))]));
        }
      }
    },
    RANDOM_TIMEOUT_MS,
  );

  it.each(["baseline", "relaxed"] as const)("%s: same bits on 1 to 4 threads", async (backend) => {
    const next = generator(SEED);
    for (const bits of KV_BITS) {
      const kvHeads = 1 + Math.floor(next() * 5);
      const headDim = 1 + Math.floor(next() * 40);
      const c = {
        heads: kvHeads * (1 + Math.floor(next() * 4)),
        kvHeads,
        headDim,
        rotary: 2 * Math.floor(headDim / 2),
        bits,
        capacity: 224,
        scale: 1 / Math.sqrt(headDim),
      };
      const text = randomText(c, 200);
      const results: Float32Array[] = [];
      for (const threads of [1, 2, 3, 4]) {
        const bench = new AttentionBench(backend, c);
        const parts = [
          await bench.run(text, 0, 160, false, threads),
          await bench.run(text, 160, 196, false, threads),
          await bench.run(text, 196, 200, true, threads),
        ];
        results.push(Float32Array.from(parts.flatMap((part) => [...part])));
      }
      for (const result of results) expect(result).toEqual(results[0]);
      expect(relativeError(results[0], truth(c, text, 0, 200))).toBeLessThan(TOLERANCE[bits]);
    }
  });

  it.each(WINDOWS.flatMap(([window, softcap]) => KV_BITS.map((bits) => [window, softcap, bits] as const)))(
    "over a window of %i, scores capped at %f, %i bits",
    async (window, softcap, bits) => {
      const c = {
        heads: 4,
        kvHeads: 2,
        headDim: 10,
        rotary: 4,
        bits,
        capacity: 160,
        scale: 0.5,
        ...(window > 0 && { window }),
        ...(softcap > 0 && { softcap }),
      };
      // The last ones lie on both sides of a block's begin.
      const positions = 132;
      const text = randomText(c, positions);
      const cut = positions - 9;
      const want = truth(c, text, cut, positions);
      const check = twinCheck();
      for (const backend of ALL_BACKENDS) {
        const bench = new AttentionBench(backend, c);
        for (let at = 0; at < cut; at += 64) await bench.run(text, at, Math.min(at + 64, cut), false);
        const tokens = await bench.run(text, cut, positions, true);
        expect(relativeError(tokens, want), backend).toBeLessThan(TOLERANCE[bits]);
        check(backend, tokens);
        const count = backend.endsWith("twin") ? 1 : 3;
        expect(await bench.run(text, cut, positions, false, count), `${backend}, as a tile`).toEqual(tokens);
      }
    },
  );

  it("rounds to binary16 to the nearest, ties to even, and saturates", async () => {
    const values = [
      1, -2.5, 65504, 65519, 65520, 1e30, -1e30, 2 ** -14, 2 ** -24, 2 ** -25, 1.5 * 2 ** -24, 2 ** -26,
      0, -0, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 1023.5 * 2 ** -24, 1 / 3,
    ]; // prettier-ignore
    const want = [
      1, -2.5, 65504, 65504, 65504, 65504, -65504, 2 ** -14, 2 ** -24, 0, 2 ** -23, 0,
      0, -0, 1, 1 + 2 ** -9, 2 ** -14, 0.333251953125,
    ]; // prettier-ignore
    const c = {
      heads: 1,
      kvHeads: 1,
      headDim: values.length,
      rotary: 0,
      bits: 16,
      capacity: 32,
      scale: 1,
    } as const;
    const v = Float32Array.from(values);
    for (const backend of ALL_BACKENDS) {
      const bench = new AttentionBench(backend, c);
      const zeros = new Float32Array(values.length);
      // A single position has all the weight, so the value comes back as it is stored.
      const got = await bench.run({ q: zeros, k: zeros, v }, 0, 1, true);
      expect(maxDifference(got, want), backend).toBe(0);
    }
  });

  it("is finite for zeros and for huge scores", async () => {
    for (const bits of KV_BITS) {
      const c = { heads: 2, kvHeads: 1, headDim: 8, rotary: 8, bits, capacity: 64, scale: 1 };
      const check = twinCheck();
      for (const backend of ALL_BACKENDS) {
        const bench = new AttentionBench(backend, c);
        const zeros = { q: new Float32Array(640), k: new Float32Array(320), v: new Float32Array(320) };
        expect(await bench.run(zeros, 0, 40, false)).toEqual(new Float32Array(640));
        const huge = randomText(c, 40);
        for (let i = 0; i < huge.k.length; i++) huge.k[i] *= 1000;
        const got = await bench.run(huge, 0, 40, false);
        expect(got.every(Number.isFinite)).toBe(true);
        check(backend, got);
      }
    }
  });

  it.each([
    [1, 2, 2],
    [3, 16, 8],
    [4, 20, 20],
    [2, 6, 0],
  ])("rotates %i heads of %i (%i rotated) into rows", async (heads, headDim, rotary) => {
    const [tokens, position, half] = [3, 5, rotary / 2];
    const [features, stride] = [heads * headDim, pad(heads * headDim, 32)];
    const x = gaussian(tokens * features, SEED);
    const angles = Array.from({ length: 8 * half }, (_, i) => angle(Math.floor(i / half), i % half, half));
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, tokens, position);
      const [cos, sin] = [Math.cos, Math.sin].map((turn) => bench.put(Float32Array.from(angles, turn)));
      const [src, dst] = [bench.putRows(x, features, stride), bench.room(tokens * stride * 4)];
      bench.emit([OP_HEADS, src, stride, dst, stride, heads, headDim, rotary, cos, sin]);
      await bench.run();
      const got = bench.read(dst, tokens * stride);
      check(backend, got);
      for (let t = 0; t < tokens; t++) {
        for (let i = 0; i < stride; i++) {
          const [head, feature] = [Math.floor(i / headDim), i % headDim];
          const at = t * features + head * headDim;
          let want = i < features ? x[at + feature] : 0;
          if (i < features && feature < rotary) {
            const turn = angle(position + t, feature % half, half);
            const other = feature < half ? -x[at + feature + half] : x[at + feature - half];
            want = want * Math.cos(turn) + other * Math.sin(turn);
          }
          expect(Math.abs(got[t * stride + i] - want)).toBeLessThan(TOLERANCE[32]);
        }
      }
    }
  });
});
