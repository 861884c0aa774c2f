import { normalVariates } from "@subbit/core";
import { EigenvalueDecomposition, Matrix, SingularValueDecomposition } from "ml-matrix";
import { afterAll, describe, expect, it } from "vitest";
import { correlatedGram } from "../../test/every-start.js";
import { asScales, magnitudesOf } from "./envelope.js";
import { jointRotation } from "./itq.js";
import { lowRank } from "./low-rank.js";
import type { PathTask } from "./methods/method.js";
import { Programs } from "./programs.js";
import { signedEnvelope } from "./sign-path.js";

const programs = new Programs(1);
afterAll(() => programs.dispose());

const [rows, cols, rank] = [26, 34, 5];
const shape = { rows, cols, rank };
const weight = normalVariates(rows * cols, { seed: 1 });
const matrixOf = (values: ArrayLike<number>, n: number, m: number) =>
  Matrix.from1DArray(n, m, Array.from(values));

describe("lowRank", () => {
  it("is the whitened SVD: best in the metric of the inputs, whichever root whitens", async () => {
    const gram = correlatedGram(cols, 2).map((value, at) => value + (at % (cols + 1) === 0 ? 0.05 : 0));
    const { left, right } = await lowRank({ weight, shape, gram, programs, seed: 0 });
    // OSVD: the symmetric root E L^(1/2) E^T, its inverse on the right factor.
    const { realEigenvalues, eigenvectorMatrix: e } = new EigenvalueDecomposition(
      matrixOf(gram, cols, cols),
      {
        assumeSymmetric: true,
      },
    );
    const power = (p: number) =>
      e.mmul(Matrix.diag(realEigenvalues.map((value) => value ** p))).mmul(e.transpose());
    const svd = new SingularValueDecomposition(matrixOf(weight, rows, cols).mmul(power(0.5)), {
      autoTranspose: true,
    });
    const best = svd.leftSingularVectors
      .subMatrix(0, rows - 1, 0, rank - 1)
      .mmul(Matrix.diag(svd.diagonal.slice(0, rank)))
      .mmul(svd.rightSingularVectors.subMatrix(0, cols - 1, 0, rank - 1).transpose())
      .mmul(power(-0.5));
    const made = matrixOf(left, rows, rank).mmul(matrixOf(right, cols, rank).transpose());
    // Subspace iteration in single precision.
    expect(Matrix.sub(made, best).norm() / best.norm()).toBeLessThan(0.02);
  });
});

describe("magnitudesOf", () => {
  it.each([1, 2, 4])(
    "is the truncated SVD of the magnitudes (l = %i), no small change makes it better",
    async (l) => {
      const { left, right } = await magnitudesOf(weight, [rows, cols], l, programs);
      const oracle = new SingularValueDecomposition(Matrix.abs(matrixOf(weight, rows, cols)), {
        autoTranspose: true,
      });
      const errorOf = (a: ArrayLike<number>, b: ArrayLike<number>) =>
        Matrix.sub(
          Matrix.abs(matrixOf(weight, rows, cols)),
          matrixOf(a, rows, l).mmul(matrixOf(b, cols, l).transpose()),
        ).norm();
      const best = errorOf(left, right);
      expect(best / Math.hypot(...oracle.diagonal.slice(l))).toBeCloseTo(1, 4);
      for (let seed = 0; seed < 10; seed++) {
        const moved = (values: Float32Array, stream: number) => {
          const by = normalVariates(values.length, { seed, stream });
          return values.map((value, i) => value + 0.01 * by[i]);
        };
        expect(errorOf(moved(left, 0), right)).toBeGreaterThan(best);
        expect(errorOf(left, moved(right, 1))).toBeGreaterThan(best);
      }
    },
  );

  it("has positive columns and as many as asked for, zero beyond the matrix", async () => {
    const { left, right } = await magnitudesOf(Float32Array.of(1, -2, 3), [3, 1], 2, programs);
    expect(left.length).toBe(6);
    const { outer, middle } = asScales({ left, right }, 2);
    const made = signedEnvelope(Float32Array.of(1, -2, 3), 2, outer, middle);
    [1, -2, 3].forEach((value, i) => expect(made[i]).toBeCloseTo(value, 4));
    expect(left[0]).toBeGreaterThan(0);
  });
});

describe("jointRotation", () => {
  const task = (iterations: number): PathTask => ({
    shape,
    envelope: 1,
    weight,
    schedule: "tuned",
    iterations,
    seed: 0,
    path: 0,
    programs,
  });

  it("leaves the product as it is and brings the factors near to their signs", async () => {
    const pair = await lowRank({ weight, shape, programs, seed: 0 });
    const turned = await jointRotation(pair, task(50));
    const product = ({ left, right }: typeof pair) =>
      matrixOf(left, rows, rank).mmul(matrixOf(right, cols, rank).transpose());
    const before = product(pair);
    expect(Matrix.sub(product(turned), before).norm() / before.norm()).toBeLessThan(1e-5);
    const sum = ({ left, right }: typeof pair) => [...left, ...right].reduce((s, v) => s + Math.abs(v), 0);
    // The sum of magnitudes is what ITQ climbs: |sgn(X R) - X R| falls as it rises.
    const [few, many] = [await jointRotation(pair, task(2)), await jointRotation(pair, task(50))].map(sum);
    expect(many).toBeGreaterThan(few);
    expect(many).toBeGreaterThan(sum(pair));
  });

  it("stays a rotation where the matrix has a lower rank", async () => {
    const left = normalVariates(rows * rank, { seed: 3 }).map((value, at) => (at % rank < 2 ? value : 0));
    const right = normalVariates(cols * rank, { seed: 4 }).map((value, at) => (at % rank < 2 ? value : 0));
    const turned = await jointRotation({ left, right }, task(50));
    const norm = (values: Float32Array) => Math.hypot(...values);
    expect(norm(turned.left) / norm(left)).toBeCloseTo(1, 5);
    expect(norm(turned.right) / norm(right)).toBeCloseTo(1, 5);
  });
});
