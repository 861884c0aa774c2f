import { normalVariates } from "@subbit/core";
import { EigenvalueDecomposition, Matrix, SingularValueDecomposition } from "ml-matrix";
import { afterAll, describe, expect, it } from "vitest";
import { Programs } from "./programs.js";
import { truncatedSvd } from "./svd.js";
import { symmetricEigen } from "./symmetric-eigen.js";

const programs = new Programs(1);
afterAll(() => programs.dispose());

describe("symmetricEigen", () => {
  it.each([1, 2, 3, 17, 60])("agrees with ml-matrix on a random matrix of order %i", (n) => {
    const x = normalVariates(n * n, { seed: n });
    const a = Float64Array.from({ length: n * n }, (_, at) => x[at] + x[(at % n) * n + Math.floor(at / n)]);
    const { values, vectors } = symmetricEigen(a, n);
    const oracle = new EigenvalueDecomposition(Matrix.from1DArray(n, n, a), { assumeSymmetric: true });
    const want = oracle.realEigenvalues.sort((p, q) => q - p);
    values.forEach((value, i) => expect(value).toBeCloseTo(want[i], 9));
    const v = Matrix.from1DArray(n, n, vectors);
    const rebuilt = v
      .transpose()
      .mmul(Matrix.diag([...values]))
      .mmul(v);
    expect(Matrix.sub(rebuilt, Matrix.from1DArray(n, n, a)).norm()).toBeLessThan(1e-9 * n);
    expect(Matrix.sub(v.mmul(v.transpose()), Matrix.eye(n)).norm()).toBeLessThan(1e-10 * n);
  });

  it("takes repeated eigenvalues and zeros", () => {
    const { values } = symmetricEigen([2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1], 4);
    expect([...values]).toEqual([2, 2, 0, -1]);
  });
});

describe("truncatedSvd", () => {
  it.each([
    [40, 60, 12],
    [71, 33, 33],
    [30, 30, 1],
  ])("finds the leading triplets of a %i x %i matrix to rank %i", async (rows, cols, rank) => {
    const weight = normalVariates(rows * cols, { seed: rank });
    const found = await truncatedSvd(weight, { rows, cols, rank }, programs, 0);
    const oracle = new SingularValueDecomposition(Matrix.from1DArray(rows, cols, weight), {
      autoTranspose: true,
    });
    // A random matrix has no gaps in its spectrum: values converge well before vectors do.
    found.values.forEach((value, k) => expect(value / oracle.diagonal[k]).toBeGreaterThan(0.99));
    const u = Matrix.from1DArray(rows, rank, found.left);
    const v = Matrix.from1DArray(cols, rank, found.right);
    expect(Matrix.sub(u.transpose().mmul(u), Matrix.eye(rank)).norm()).toBeLessThan(1e-3);
    expect(Matrix.sub(v.transpose().mmul(v), Matrix.eye(rank)).norm()).toBeLessThan(1e-3);
    const rebuilt = u.mmul(Matrix.diag([...found.values])).mmul(v.transpose());
    const error = Matrix.sub(rebuilt, Matrix.from1DArray(rows, cols, weight)).norm();
    const best = Math.hypot(...oracle.diagonal.slice(rank), 1e-3);
    expect(error).toBeLessThan(best * 1.005);
  });

  it("gives zero triplets beyond the rank of the matrix", async () => {
    const [rows, cols] = [20, 15];
    const a = normalVariates(rows, { seed: 1 });
    const b = normalVariates(cols, { seed: 2 });
    const weight = Float32Array.from(
      { length: rows * cols },
      (_, at) => a[Math.floor(at / cols)] * b[at % cols],
    );
    const { values, left, right } = await truncatedSvd(weight, { rows, cols, rank: 4 }, programs, 0);
    expect(values[0]).toBeCloseTo(Math.hypot(...a) * Math.hypot(...b), 3);
    expect(values[1] / values[0]).toBeLessThan(1e-3);
    expect([...left, ...right].every(Number.isFinite)).toBe(true);
  });
});
