import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "@subbit/core";
import { describe, expect, it } from "vitest";
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_RELU,
  ACT_SILU,
  NORM_LAYER,
  CTRL_HEAD_FIRST,
  CTRL_SHORTLIST,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  M_FIRST_ROW,
  NORM_RMS,
  OP_ACTIVATE,
  OP_ADD,
  OP_HEAD_NORM,
  OP_MULTIPLY,
  OP_NORM,
  OP_POSITIONS,
  OP_SCALE,
  OP_SOFTCAP,
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

  it.each([
    [1, 1],
    [3, 7],
    [2, 16],
    [5, 20],
    [4, 256],
  ])("norms %i heads of %i", async (heads, headDim) => {
    const tokens = 3;
    const features = heads * headDim;
    const stride = pad(features, 32);
    const x = gaussian(tokens * features, SEED).map((v) => 2 * v + 1);
    const weight = gaussian(headDim, SEED + 1);
    const want = new Float64Array(tokens * stride);
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const head = x.subarray(t * features + h * headDim, t * features + (h + 1) * headDim);
        const power = head.reduce((sum, v) => sum + v * v, 0) / headDim;
        head.forEach(
          (v, i) => (want[t * stride + h * headDim + i] = (v / Math.sqrt(power + 1e-6)) * weight[i]),
        );
      }
    }
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, tokens);
      const dst = bench.room(tokens * stride * 4);
      const [src, weights] = [bench.putRows(x, features, stride), bench.put(weight)];
      bench.emit([OP_HEAD_NORM, src, stride, dst, stride, heads, headDim, weights], { 9: 1e-6 });
      await bench.run(backend.endsWith("twin") ? 1 : 2);
      const got = bench.read(dst, tokens * stride);
      expect(maxDifference(got, want)).toBeLessThan(10 * TOLERANCE);
      check(backend, got);
    }
  });

  it("scales rows, and caps them softly", async () => {
    const [tokens, stride, cap] = [4, 96, 2.5];
    const x = gaussian(tokens * stride, SEED).map((v) => 4 * v);
    x.set([0, -0, 1e30, -1e30, 1e-20], 0);
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, tokens);
      const src = bench.put(x);
      const [scaled, capped, head, skipped] = Array.from({ length: 4 }, () =>
        bench.room(tokens * stride * 4),
      );
      const untouched = bench.read(skipped, tokens * stride);
      bench.emit([OP_SCALE, src, stride, scaled, stride], { 5: 1.7 });
      bench.emit([OP_SOFTCAP, src, stride, capped, stride], { 5: cap });
      bench.views.u32[CTRL_HEAD_FIRST >> 2] = 3;
      bench.emit([OP_SOFTCAP, src, stride, head, stride, 0, 1], { 5: cap });
      await bench.run(backend.endsWith("twin") ? 1 : 3);
      const results = [scaled, capped].map((at) => bench.read(at, tokens * stride));
      expect(results[0]).toEqual(x.map((v) => v * Math.fround(1.7)));
      expect(
        maxDifference(
          results[1],
          x.map((v) => cap * Math.tanh(v / cap)),
        ),
      ).toBeLessThan(cap * TOLERANCE);
      expect(bench.read(head + 3 * stride * 4, stride)).toEqual(results[1].subarray(3 * stride));
      expect(bench.read(head, 3 * stride)).toEqual(untouched.subarray(0, 3 * stride));
      // Where a shortlist is asked for, logits are capped by whoever reads it.
      bench.views.u32[CTRL_SHORTLIST >> 2] = 1;
      bench.emit([OP_SOFTCAP, src, stride, skipped, stride, 0, 1], { 5: cap });
      await bench.run();
      expect(bench.read(skipped, tokens * stride)).toEqual(untouched);
      check(backend, Float32Array.from(results.flatMap((values) => [...values])));
    }
  });

  it.each([
    [DTYPE_F32, 5],
    [DTYPE_F16, 37],
    [DTYPE_BF16, 64],
  ])("adds the row of each position, dtype %i, %i features", async (dtype, features) => {
    const [tokens, position, offset] = [3, 4, 2];
    const [stride, cols] = [pad(features, 32), pad(features, 16)];
    const rows = position + tokens + offset;
    const values = gaussian(rows * features, SEED);
    const x = gaussian(tokens * features, SEED + 1);
    const padded = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++) padded.set(values.subarray(r * features, (r + 1) * features), r * cols);
    const stored = dtype === DTYPE_F32 ? padded : dtype === DTYPE_F16 ? f32ToF16(padded) : f32ToBf16(padded);
    const read =
      stored instanceof Float32Array ? stored : dtype === DTYPE_F16 ? f16ToF32(stored) : bf16ToF32(stored);
    const want = new Float32Array(tokens * stride);
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < features; i++)
        want[t * stride + i] = x[t * features + i] + read[(position + offset + t) * cols + i];
    }
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, tokens, position);
      const dst = bench.room(tokens * stride * 4);
      const words = [
        OP_POSITIONS,
        bench.putRows(x, features, stride),
        stride,
        dst,
        stride,
        bench.put(stored),
      ];
      words.push(dtype, rows, cols, stored.BYTES_PER_ELEMENT * cols);
      words[M_FIRST_ROW] = offset;
      bench.emit(Array.from(words, (word: number | undefined) => word ?? 0));
      await bench.run(backend.endsWith("twin") ? 1 : 2);
      expect(bench.read(dst, tokens * stride)).toEqual(want);
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
