import { describe, expect, it } from "vitest";
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_RELU,
  ACT_SILU,
  NORM_LAYER,
  NORM_RMS,
  OP_ACTIVATE,
  OP_ADD,
  OP_ATTENTION,
  OP_HEADS,
  OP_MULTIPLY,
  OP_NORM,
} from "../src/abi.js";
import { Bench, ALL_BACKENDS, gaussian, maxDifference, pad, twinCheck } from "./kernel-harness.js";

/** A few roundings of float32 and a polynomial exponential on values of size one. */
const TOLERANCE = 2e-6;
const SEED = (Date.now() >> 4) & 0xffff;

/** Error function to double precision by its Maclaurin series; |x| below 4. */
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

describe(`other kernels, seed ${SEED}`, () => {
  it.each([1, 4, 37, 576])("norms of %i features", async (features) => {
    const tokens = 3;
    const stride = pad(features, 32);
    const [x, weight, bias] = [
      gaussian(tokens * features, SEED),
      gaussian(features, SEED + 1),
      gaussian(features, SEED + 2),
    ];
    for (let i = 0; i < x.length; i++) x[i] = x[i] * 3 + 1;
    for (const kind of [NORM_RMS, NORM_LAYER]) {
      const want = new Float64Array(tokens * stride);
      for (let t = 0; t < tokens; t++) {
        const row = x.slice(t * features, (t + 1) * features);
        const mean = kind === NORM_LAYER ? row.reduce((a, b) => a + b, 0) / features : 0;
        const power = row.reduce((a, b) => a + (b - mean) ** 2, 0) / features;
        for (let i = 0; i < features; i++) {
          want[t * stride + i] =
            ((row[i] - mean) / Math.sqrt(power + 1e-5)) * weight[i] + (kind === NORM_LAYER ? bias[i] : 0);
        }
      }
      const check = twinCheck();
      for (const backend of ALL_BACKENDS) {
        const bench = new Bench(backend, tokens);
        const dst = bench.room(tokens * stride * 4);
        const biasAt = kind === NORM_LAYER ? bench.putRows(bias, features, stride) : 0;
        const words = [
          OP_NORM,
          bench.putRows(x, features, stride),
          stride,
          dst,
          stride,
          kind,
          features,
          bench.putRows(weight, features, stride),
          biasAt,
        ];
        bench.emit(words, { 9: 1e-5 });
        await bench.run();
        const got = bench.read(dst, tokens * stride);
        expect(maxDifference(got, want)).toBeLessThan(10 * TOLERANCE);
        check(backend, got);
      }
    }
  });

  it.each([
    [1, 2],
    [3, 16],
    [4, 20],
    [2, 6],
  ])("rotates %i heads of %i into the cache", async (count, headDim) => {
    const [tokens, position, capacity] = [3, 5, 32];
    const [features, half] = [count * headDim, headDim / 2];
    const x = gaussian(tokens * features, SEED);
    const angle = (p: number, i: number): number => p * 10000 ** (-i / half);
    const angles = Array.from({ length: capacity * half }, (_, i) => angle(Math.floor(i / half), i % half));
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      for (const rotate of [true, false]) {
        const bench = new Bench(backend, tokens, position);
        const rowFloats = pad(headDim, 4);
        const cache = bench.room(count * capacity * rowFloats * 4);
        const [cos, sin] = rotate
          ? [Math.cos, Math.sin].map((f) => bench.put(Float32Array.from(angles, f)))
          : [0, 0];
        const src = bench.putRows(x, features, pad(features, 32));
        bench.emit([
          OP_HEADS,
          src,
          pad(features, 32),
          cache,
          0,
          count,
          headDim,
          rowFloats,
          capacity * rowFloats,
          1,
          cos,
          sin,
        ]);
        await bench.run();
        if (rotate) check(backend, bench.read(cache, count * capacity * rowFloats));
        for (let t = 0; t < tokens; t++) {
          for (let h = 0; h < count; h++) {
            const got = bench.read(cache + (h * capacity + t + position) * rowFloats * 4, headDim);
            for (let i = 0; i < half; i++) {
              const [a, b] = [x[t * features + h * headDim + i], x[t * features + h * headDim + half + i]];
              const turn = rotate ? angle(t + position, i) : 0;
              expect(Math.abs(got[i] - (a * Math.cos(turn) - b * Math.sin(turn)))).toBeLessThan(TOLERANCE);
              expect(Math.abs(got[half + i] - (b * Math.cos(turn) + a * Math.sin(turn)))).toBeLessThan(
                TOLERANCE,
              );
            }
          }
        }
      }
    }
  });

  it.each([
    [1, 1, 4, 0],
    [3, 1, 16, 0],
    [4, 2, 20, 30],
    [2, 2, 6, 100],
    [6, 2, 64, 61],
  ])(
    "attention of %i heads over %i kv heads of %i from position %i",
    async (heads, kvHeads, headDim, position) => {
      const tokens = 4;
      const capacity = pad(position + tokens, 32);
      const rowFloats = pad(headDim, 4);
      const [features, stride] = [heads * headDim, pad(heads * headDim, 32)];
      const q = gaussian(tokens * features, SEED);
      const [keys, values] = [1, 2].map((i) => gaussian(kvHeads * capacity * headDim, SEED + i));
      const scale = 2 / Math.sqrt(headDim);
      const want = new Float64Array(tokens * stride);
      for (let t = 0; t < tokens; t++) {
        for (let h = 0; h < heads; h++) {
          const row = (j: number): number => (Math.floor(h / (heads / kvHeads)) * capacity + j) * headDim;
          const weights = Array.from({ length: position + t + 1 }, (_, j) => {
            let score = 0;
            for (let i = 0; i < headDim; i++) score += q[t * features + h * headDim + i] * keys[row(j) + i];
            return Math.exp(score * scale);
          });
          const total = weights.reduce((a, b) => a + b, 0);
          for (let i = 0; i < headDim; i++) {
            want[t * stride + h * headDim + i] = weights.reduce(
              (sum, p, j) => sum + (p / total) * values[row(j) + i],
              0,
            );
          }
        }
      }
      const check = twinCheck();
      for (const backend of ALL_BACKENDS) {
        const bench = new Bench(backend, tokens, position);
        const dst = bench.room(tokens * stride * 4);
        const src = bench.putRows(q, features, stride);
        const [k, v] = [keys, values].map((cache) => bench.putRows(cache, headDim, rowFloats));
        bench.emit([OP_ATTENTION, src, stride, dst, stride, k, v, heads, kvHeads, headDim, capacity], {
          11: scale,
        });
        await bench.run();
        const got = bench.read(dst, tokens * stride);
        expect(maxDifference(got, want)).toBeLessThan(5 * TOLERANCE);
        check(backend, got);
      }
    },
  );

  it("activations, sums and products", async () => {
    const count = 64;
    const [x, y] = [gaussian(2 * count, SEED), gaussian(2 * count, SEED + 1)];
    x.set([0, -0, 3.9, -3.9], 0);
    const kinds: [number, (v: number) => number][] = [
      [ACT_SILU, (v) => v / (1 + Math.exp(-v))],
      [ACT_GELU, (v) => 0.5 * v * (1 + erf(v / Math.SQRT2))],
      [ACT_GELU_TANH, (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))],
      [ACT_RELU, (v) => Math.max(v, 0)],
    ];
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, 2);
      const [a, b] = [bench.put(x), bench.put(y)];
      const outputs = Array.from({ length: 10 }, () => bench.room(2 * count * 4));
      kinds.forEach(([kind], i) => {
        bench.emit([OP_ACTIVATE, a, count, outputs[i], count, kind, 0]);
        bench.emit([OP_ACTIVATE, a, count, outputs[4 + i], count, kind, b]);
      });
      bench.emit([OP_ADD, a, count, outputs[8], count, b]);
      bench.emit([OP_MULTIPLY, a, count, outputs[9], count, b]);
      await bench.run();
      const got = outputs.map((at) => bench.read(at, 2 * count));
      check(backend, Float32Array.from(got.flatMap((values) => [...values])));
      kinds.forEach(([, truth], i) => {
        expect(maxDifference(got[i], x.map(truth))).toBeLessThan(TOLERANCE);
        expect(
          maxDifference(
            got[4 + i],
            x.map((v, j) => truth(v) * y[j]),
          ),
        ).toBeLessThan(3 * TOLERANCE);
      });
      expect(got[8]).toEqual(x.map((v, i) => v + y[i]));
      expect(got[9]).toEqual(x.map((v, i) => v * y[i]));
    }
  });

  it("silu saturates without overflow", async () => {
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, 1);
      const dst = bench.room(128);
      const x = new Float32Array(32);
      x.set([1e4, -1e4, 100, -100, 3e38, -3e38]);
      bench.emit([OP_ACTIVATE, bench.put(x), 32, dst, 32, ACT_SILU, 0]);
      await bench.run();
      const got = bench.read(dst, 6);
      check(backend, got);
      expect([got[0], got[2], got[4]]).toEqual([1e4, 100, Math.fround(3e38)]);
      expect(Math.abs(got[1])).toBeLessThan(1e-30);
      expect(Math.abs(got[3])).toBeLessThan(1e-30);
    }
  });
});
