import { normalVariates } from "@subbit/core";
import { Matrix, solve, SVD } from "ml-matrix";
import { describe, expect, it } from "vitest";
import { conjugateGradients } from "./conjugate-gradients.js";
import { importanceWeights, scaleMatrix } from "./importance.js";
import { rankOneOfMagnitudes } from "./rank-one.js";

describe("rankOneOfMagnitudes", () => {
  it.each([
    [1, 7],
    [12, 30],
    [25, 8],
  ])("is the leading triplet of the magnitudes of a %i x %i matrix", (rows, cols) => {
    const values = normalVariates(rows * cols, { seed: cols });
    const { left, right } = rankOneOfMagnitudes(values, rows, cols);
    const oracle = new SVD(Matrix.abs(Matrix.from1DArray(rows, cols, values)), { autoTranspose: true });
    expect(Math.hypot(...left)).toBeCloseTo(1, 10);
    expect(Math.hypot(...right)).toBeCloseTo(oracle.diagonal[0], 6);
    left.forEach((value, i) => expect(value).toBeCloseTo(Math.abs(oracle.leftSingularVectors.get(i, 0)), 4));
  });

  it("gives zeros for zeros", () => {
    const { left, right } = rankOneOfMagnitudes(new Float32Array(6), 2, 3);
    expect([...left, ...right]).toEqual([0, 0, 0, 0, 0]);
  });
});

describe("conjugateGradients", () => {
  it("solves a symmetric system", () => {
    const n = 30;
    const x = Matrix.from1DArray(50, n, normalVariates(50 * n, { seed: 3 }));
    const k = x.transpose().mmul(x);
    const b = normalVariates(n, { seed: 4 });
    const got = conjugateGradients(Float32Array.from(k.to1DArray()), b, new Float32Array(n), 1e-7);
    const want = solve(k, Matrix.columnVector(b)).to1DArray();
    // Relative residual 1e-7 times the condition number of some hundreds.
    want.forEach((value, i) => expect(Math.abs(got[i] - value)).toBeLessThan(1e-4));
  });

  it("leaves an unknown without an equation where it started", () => {
    const got = conjugateGradients(
      Float32Array.of(4, 0, 0, 0),
      Float32Array.of(8, 0),
      Float32Array.of(0, 7),
      1e-7,
    );
    expect([...got]).toEqual([2, 7]);
  });
});

describe("importanceWeights", () => {
  it("shrinks square roots of moments to their mean", () => {
    const { rows, cols } = importanceWeights({ input: Float32Array.of(1, 9), shrinkage: 0.5 }, 3, 2);
    expect([...rows]).toEqual([1, 1, 1]);
    expect([...cols]).toEqual([0.75, 1.25]);
  });

  it("keeps an input that never fires in the reach of 16 bits", () => {
    const { cols } = importanceWeights({ input: Float32Array.of(0, 4), shrinkage: 0 }, 1, 2);
    expect(cols[0]).toBeGreaterThan(0);
    expect(cols[1]).toBe(2);
  });

  it.each([
    [{ input: Float32Array.of(1, 2, 3) }, /3 values for a matrix of 2/],
    [{ input: Float32Array.of(1, -1) }, /-1 at 1/],
    [{ output: Float32Array.of(NaN) }, /NaN at 0/],
    [{ shrinkage: 2 }, /from 0 to 1/],
  ])("refuses %j", (importance, message) => {
    expect(() => importanceWeights(importance, 1, 2)).toThrow(message);
  });

  it("scales rows and columns", () => {
    const weights = { rows: Float32Array.of(1, 2), cols: Float32Array.of(3, 5) };
    expect([...scaleMatrix(Float32Array.of(1, 1, 1, 1), weights)]).toEqual([3, 5, 6, 10]);
  });
});
