/** Rows of 2-bit codes; those of 8 and 4 bits are tested with the dense linears. */
import { describe, expect, it } from "vitest";
import { random, randomDense } from "../../test/random-linears.js";
import { denseFromF32, denseRow, denseValues } from "./dense-linear.js";
import { reduceDense } from "./narrow.js";
import { quantiseRows } from "./quantise-rows.js";
import { bestTwoBitScale } from "./two-bit-scale.js";
import type { DenseLinear } from "./types.js";

/** Squared error of a row whose values take the nearest of the four levels. */
function errorAt(row: Float32Array, scale: number): number {
  return row.reduce((sum, value) => {
    const nearest = Math.abs(value) > scale ? 1.5 : 0.5;
    return sum + (Math.abs(value) - nearest * scale) ** 2;
  }, 0);
}

/** Sums of twelve: near enough to a normal distribution of variance 1. */
const bell = (length: number): Float32Array =>
  Float32Array.from({ length }, () => random(12, Math.sqrt(3 / 12)).reduce((sum, each) => sum + each, 0));

describe("rows of 2-bit codes", () => {
  it("hold four codes a byte, the first column lowest, the padding clear", () => {
    const values = Float32Array.of(-3, -1, 1, 3, 3, -3);
    const { storage } = quantiseRows(denseFromF32(values, 1, 6), 2);
    expect(storage.dtype).toBe("i2");
    expect([...storage.values]).toEqual([0b11_10_01_00, 0b00_11]);
    expect([...(storage as { rowScales: Float32Array }).rowScales]).toEqual([2]);
    expect(denseValues(quantiseRows(denseFromF32(values, 1, 6), 2))).toEqual(values);
  });

  it("have the best scale there is: no scale of a fine grid does better", () => {
    for (const length of [1, 2, 3, 33, 200]) {
      for (const row of [random(length), bell(length), bell(length).map((value) => value ** 3)]) {
        const best = errorAt(row, bestTwoBitScale(row));
        const largest = row.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
        for (let i = 1; i <= 500; i++)
          expect(best).toBeLessThanOrEqual(errorAt(row, (2 * largest * i) / 500) * (1 + 1e-9) + 1e-12);
      }
    }
  });

  it("reach the error of the best uniform quantiser of four levels on bell-shaped rows", () => {
    const values = bell(32 * 1024);
    const back = denseValues(quantiseRows(denseFromF32(values, 32, 1024), 2));
    const error = values.reduce((sum, value, i) => sum + (value - back[i]) ** 2, 0) / values.length;
    // Max (1960): 0.1188 for a normal distribution; 32768 samples leave about 1 % of chance.
    expect(error).toBeGreaterThan(0.11);
    expect(error).toBeLessThan(0.125);
  });

  it("agree row by row with the whole at odd widths, and keep rows of zeros", () => {
    for (const cols of [1, 2, 3, 4, 5, 37]) {
      const source = randomDense(5, cols, true);
      const zeroed = source.storage.values as Float32Array;
      zeroed.fill(0, 0, cols);
      const quantised = quantiseRows(source, 2);
      expect(quantised.bias).toEqual(source.bias);
      const back = denseValues(quantised);
      expect([...back.subarray(0, cols)]).toEqual(new Array(cols).fill(0));
      for (let row = 0; row < 5; row++)
        expect(denseRow(quantised, row)).toEqual(back.subarray(row * cols, (row + 1) * cols));
    }
  });

  it("hold rows of any size, and refuse values that are not finite", () => {
    for (const size of [1e-45, 1e-30, 1e-7, 1e30]) {
      const row = Float32Array.of(size, -size, size, size);
      const back = denseValues(quantiseRows(denseFromF32(row, 1, 4), 2));
      // The smallest numbers of 32 bits have no halves.
      if (size > 1e-44) back.forEach((value, i) => expect(value / row[i]).toBeCloseTo(1, 3));
      expect(back.every(Number.isFinite)).toBe(true);
    }
    expect(() => quantiseRows(denseFromF32(Float32Array.of(NaN, Infinity), 1, 2), 2)).toThrow(/not finite/);
  });
});

describe("reducing dense matrices", () => {
  it("narrows, and never widens what is narrow already", () => {
    const source = randomDense(3, 10);
    const narrowed = ([16, 8, 4, 2] as const).map((bits): DenseLinear => reduceDense(source, bits));
    expect(narrowed.map(({ storage }) => storage.dtype)).toEqual(["f16", "i8", "i4", "i2"]);
    for (const [i, narrow] of narrowed.entries()) {
      for (const bits of ([16, 8, 4, 2] as const).slice(0, i + 1))
        expect(reduceDense(narrow, bits)).toBe(narrow);
    }
  });
});
