import { normalVariates } from "@subbit/core";
import { afterAll, describe, expect, it } from "vitest";
import { Programs } from "./programs.js";
import { dotsOf, residualOf, type SlabTask } from "./row-slabs.js";

/** Sums of a few hundred products of order 1 in single precision, in two orders. */
const ROUNDING = 1e-3;

describe("a matrix a few rows at a time", () => {
  const programs = new Programs(1);
  afterAll(() => programs.dispose());
  const [rows, cols, rank] = [53, 29, 7];
  const task: SlabTask = {
    weight: normalVariates(rows * cols, { seed: 1 }),
    left: normalVariates(rows * rank, { seed: 2 }),
    right: normalVariates(cols * rank, { seed: 3 }),
    shape: { rows, cols, rank },
    programs,
  };
  const made = (row: number, col: number): number => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += task.left[row * rank + k] * task.right[col * rank + k];
    return sum;
  };

  // One slab, slabs that do not divide the rows, and single rows.
  it.each([undefined, 8 * cols + 3, 1])("has the residual of the whole (%s entries)", async (entries) => {
    const residual = await residualOf({ ...task, ...(entries && { entries }) });
    residual.forEach((value, at) => {
      const expected = task.weight[at] - made(Math.floor(at / cols), at % cols);
      expect(Math.abs(value - expected)).toBeLessThan(ROUNDING);
    });
  });

  it.each([undefined, 8 * cols + 3, 1])("has the sums of the whole (%s entries)", async (entries) => {
    const { rowDots, rowSquares, colDots, colSquares } = await dotsOf({
      ...task,
      ...(entries && { entries }),
    });
    const sum = (count: number, of: (i: number) => number): number =>
      Array.from({ length: count }, (_, i) => of(i)).reduce((total, value) => total + value, 0);
    for (let row = 0; row < rows; row++) {
      const dots = sum(cols, (col) => task.weight[row * cols + col] * made(row, col));
      expect(Math.abs(rowDots[row] - dots)).toBeLessThan(ROUNDING);
      expect(Math.abs(rowSquares[row] - sum(cols, (col) => made(row, col) ** 2))).toBeLessThan(ROUNDING);
    }
    for (let col = 0; col < cols; col++) {
      const dots = sum(rows, (row) => task.weight[row * cols + col] * made(row, col));
      expect(Math.abs(colDots[col] - dots)).toBeLessThan(ROUNDING);
      expect(Math.abs(colSquares[col] - sum(rows, (row) => made(row, col) ** 2))).toBeLessThan(ROUNDING);
    }
  });
});
