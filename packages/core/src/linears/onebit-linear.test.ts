import { describe, expect, it } from "vitest";
import { random, randomOneBit } from "../../test/random-linears.js";
import {
  balanceOneBit,
  canonicaliseOneBit,
  normaliseOutputs,
  oneBitForward,
  oneBitMatrix,
} from "./onebit-linear.js";
import { storedForm } from "./round-scales.js";
import { packSigns } from "./sign-matrix.js";
import { ONEBIT_EPS, type OneBitLinear } from "./types.js";

const SIZES = [
  [1, 1],
  [2, 31],
  [37, 70],
  [64, 64],
  [129, 33],
] as const;

/** Outputs of a norm are of size one; f32 inputs of the matrix form cost a few units of 2^-24 each of a hundred terms. */
const FORWARD_TOLERANCE = 2e-4;

function expectClose(got: Float32Array, want: Float32Array, tolerance: number): void {
  expect(got.length).toBe(want.length);
  got.forEach((value, i) => expect(Math.abs(value - want[i])).toBeLessThanOrEqual(tolerance));
}

describe("OneBit linears", () => {
  it("normalise the hand-worked 2 x 2 after the output scale and before the bias", () => {
    const linear: OneBitLinear = {
      kind: "onebit",
      rows: 2,
      cols: 2,
      signs: packSigns([1, -1, -1, -1], 2, 2),
      outScales: Float32Array.of(2, 3),
      inScales: Float32Array.of(5, 7),
      bias: Float32Array.of(10, 20),
    };
    expect([...oneBitMatrix(linear)]).toEqual([10, -14, -15, -21]);
    // x = (1, 1): -4 and -36, mean -20, deviation 16 on both sides.
    const expected = 16 / Math.sqrt(256 + ONEBIT_EPS);
    const y = oneBitForward(linear, Float32Array.of(1, 1));
    expect(y[0]).toBeCloseTo(10 + expected, 6);
    expect(y[1]).toBeCloseTo(20 - expected, 6);
    expect(() => oneBitForward(linear, random(3))).toThrow(/vector of 3/);
  });

  it.each(SIZES)("%i x %i: signs between scales give the same as the matrix and a norm", (rows, cols) => {
    const linear = randomOneBit(rows, cols, { bias: true });
    const matrix = oneBitMatrix(linear);
    const x = random(cols);
    const sums = new Float64Array(rows).map((_, row) => {
      let sum = 0;
      for (let col = 0; col < cols; col++) sum += matrix[row * cols + col] * x[col];
      return sum;
    });
    normaliseOutputs(sums);
    expectClose(
      oneBitForward(linear, x),
      Float32Array.from(sums, (value, row) => value + linear.bias![row]),
      FORWARD_TOLERANCE,
    );
  });

  it.each(SIZES)("%i x %i: the canonical form has no negative scale and the same matrix", (rows, cols) => {
    const linear = randomOneBit(rows, cols);
    const canonical = canonicaliseOneBit(linear);
    expect([...canonical.outScales, ...canonical.inScales].every((scale) => scale >= 0)).toBe(true);
    expect(oneBitMatrix(canonical)).toEqual(oneBitMatrix(linear));
    expect(oneBitForward(canonical, random(cols).fill(0.5))).toEqual(
      oneBitForward(linear, random(cols).fill(0.5)),
    );
  });

  it.each(SIZES)("%i x %i: balancing moves a power of two and changes no output", (rows, cols) => {
    const linear = randomOneBit(rows, cols);
    const far = {
      ...linear,
      outScales: linear.outScales.map((scale) => scale * 2 ** 20),
      inScales: linear.inScales.map((scale) => scale * 2 ** -20),
    };
    const balanced = balanceOneBit(far);
    expect(oneBitMatrix(balanced)).toEqual(oneBitMatrix(linear));
    const x = random(cols);
    expect(oneBitForward(balanced, x)).toEqual(oneBitForward(far, x));
    expect(balanceOneBit(balanced)).toEqual(balanced);
  });

  it.each([16, 8] as const)("%i-bit scales: the stored form is stored once and for all", (scaleBits) => {
    for (const [rows, cols] of SIZES) {
      const linear = randomOneBit(rows, cols, { scaleBits, bias: true });
      const stored = storedForm(linear);
      expect(stored.scaleBits).toBe(scaleBits);
      expect(storedForm(stored)).toEqual(stored);
      // Both vectors are rounded: to 11 bits, or to half a code; below 2^-7.9 of the largest all have one level.
      const once = scaleBits === 16 ? 2 ** -11 : 2 ** (1 / 64) - 1;
      const relative = (1 + once) ** 2 - 1 + 1e-6;
      const want = oneBitMatrix(linear);
      const largest = want.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      const least = scaleBits === 16 ? 2 ** -20 * largest : 2 ** -7.8 * largest;
      oneBitMatrix(stored).forEach((value, i) => {
        expect(Math.abs(value - want[i])).toBeLessThanOrEqual(relative * Math.abs(want[i]) + least);
      });
    }
  });

  it("scales that lie far apart survive 16 bits after balancing", () => {
    const linear = randomOneBit(20, 30);
    const far = { ...linear, outScales: linear.outScales.map((scale) => scale * 1e8) };
    const stored = storedForm({ ...far, inScales: linear.inScales.map((scale) => scale * 1e-8) });
    expect(stored.outScales.every((scale) => scale > 0 && scale < 10)).toBe(true);
    expect(() => storedForm({ ...linear, outScales: random(20).fill(NaN) })).toThrow(/not finite/);
  });
});
