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
