import { normalVariates } from "@subbit/core";
import { afterAll, describe, expect, it } from "vitest";
import { type AdmmState, type AdmmVariant, CHUNK, compileAdmm, POWER_STEPS } from "./admm-program.js";
import { RELATIVE_RIDGE } from "./shifted-inverse.js";

/** Single precision through an inverse of condition number up to about 50. */
const TOLERANCE = 3e-4;

/** One factor of the twin, in double precision. */
interface Twin {
  a: number[][];
  u: number[][];
  /** Unit-norm columns of a. */
  x: number[][];
}

const VARIANTS: Record<string, AdmmVariant> = {
  "one projection, unit middle scale": { middle: "unit", projections: 1, ridge: 0.01, smallestRho: 0.1 },
  "one projection, free middle scale": { middle: "free", projections: 1, ridge: 0.03, smallestRho: 0.1 },
  "three projections, free middle scale": { middle: "free", projections: 3, ridge: 0.03, smallestRho: 0.1 },
};

const programs: { dispose(): Promise<void> }[] = [];
afterAll(async () => {
  for (const program of programs) await program.dispose();
});

describe.each(Object.entries(VARIANTS))("ADMM with %s", (_name, variant) => {
  it.each([
    [9, 13, 4],
    [33, 20, 7],
    [17, 50, 25],
  ])("takes the steps of its twin on a %i x %i matrix of rank %i", async (rows, cols, rank) => {
    const weight = normalVariates(rows * cols, { seed: rows });
    const start = randomState(rows, cols, rank, variant);
    const program = await compileAdmm({ rows, cols, rank }, variant, { threads: 1 });
    programs.push(program);
    const rhos = [0.3, 0.7];
    const { state, inverseError } = await program.run(weight, start, rhos);
    expect(inverseError).toBeLessThan(1e-3);
    const twin = { out: twinOf(start, "out", rows, rank), in: twinOf(start, "in", cols, rank) };
    const w = matrix(weight, rows, cols);
    for (const rho of rhos) {
      halfIteration(w, twin.out, twin.in.x, rho, variant);
      halfIteration(transpose(w), twin.in, twin.out.x, rho, variant);
    }
    for (const side of ["out", "in"] as const) {
      expect(largestDifference(state[`${side}.projected`], twin[side].a)).toBeLessThan(TOLERANCE);
      expect(largestDifference(state[`${side}.dual`], twin[side].u)).toBeLessThan(TOLERANCE);
    }
  });
});

it("continues where a chunk ended", async () => {
  const variant = VARIANTS["one projection, unit middle scale"];
  const [rows, cols, rank] = [12, 10, 3];
  const weight = normalVariates(rows * cols, { seed: 5 });
  const program = await compileAdmm({ rows, cols, rank }, variant, { threads: 1 });
  programs.push(program);
  const rhos = Array.from({ length: CHUNK }, (_, t) => 0.1 + (0.9 * t) / CHUNK);
  const start = randomState(rows, cols, rank, variant);
  const whole = await program.run(weight, start, rhos);
  const half = await program.run(weight, start, rhos.slice(0, 11));
  expect((await program.run(weight, half.state, rhos.slice(11))).state).toEqual(whole.state);
});

function randomState(rows: number, cols: number, rank: number, variant: AdmmVariant): AdmmState {
  const fields = (side: "out" | "in", length: number, stream: number) => {
    const signs = normalVariates(length * rank, { seed: 9, stream });
    const sizes = normalVariates(length, { seed: 10, stream }).map((value) => 0.5 + Math.abs(value));
    const norm = Math.hypot(...sizes);
    const projected = signs.map((value, i) => Math.sign(value) * sizes[Math.floor(i / rank)]);
    return {
      [`${side}.projected`]: projected,
      [`${side}.dual`]: normalVariates(length * rank, { seed: 11, stream }),
      [`${side}.norm`]: Float32Array.of(variant.middle === "unit" ? norm : 1),
      ...(variant.middle === "free" && { [`${side}.columns`]: projected.map((value) => value / norm) }),
    };
  };
  return { ...fields("out", rows, 0), ...fields("in", cols, 1) } as AdmmState;
}

function twinOf(state: AdmmState, side: "out" | "in", length: number, rank: number): Twin {
  const a = matrix(state[`${side}.projected`], length, rank);
  const norm = Math.hypot(...a.map((row) => row[0]));
  return {
    a,
    u: matrix(state[`${side}.dual`], length, rank),
    x: a.map((row) => row.map((value) => value / norm)),
  };
}

/** The update as the papers state it, in plain loops. */
function halfIteration(w: number[][], self: Twin, x: number[][], rho: number, variant: AdmmVariant): void {
  const gram = multiply(transpose(x), x);
  const product = multiply(w, x);
  for (let inner = 0; inner < variant.projections; inner++) {
    const weight = inner === 0 ? rho : 1;
    const relative = (RELATIVE_RIDGE * gram.flat().reduce((sum, value) => sum + value ** 2, 0)) / gram.length;
    const diagonal = weight + variant.ridge + relative;
    const shifted = gram.map((row, i) => row.map((value, j) => value + (i === j ? diagonal : 0)));
    const right = product.map((row, i) =>
      row.map((value, k) => value + weight * (self.a[i][k] - self.u[i][k])),
    );
    const v = right.map((row) => solve(shifted, row));
    const p = v.map((row, i) => row.map((value, k) => value + self.u[i][k]));
    const { a, x: columns } = project(p, variant);
    self.u = p.map((row, i) => row.map((value, k) => value - a[i][k]));
    self.a = a;
    self.x = columns;
  }
}

function project(p: number[][], { middle }: AdmmVariant): { a: number[][]; x: number[][] } {
  const sizes = p.map((row) => row.map(Math.abs));
  const rank = p[0].length;
  let right = Array<number>(rank).fill(1);
  let left = sizes.map((row) => row.reduce((sum, value) => sum + value, 0) / rank);
  for (let step = 0; middle === "free" && step < POWER_STEPS; step++) {
    left = sizes.map((row) => row.reduce((sum, value, k) => sum + value * right[k], 0));
    const norm = Math.hypot(...left);
    left = left.map((value) => value / norm);
    right = right.map((_, k) => sizes.reduce((sum, row, i) => sum + row[k] * left[i], 0));
  }
  const norm = Math.hypot(...left);
  const sign = (value: number) => (value < 0 ? -1 : 1);
  return {
    a: p.map((row, i) => row.map((value, k) => sign(value) * left[i] * right[k])),
    x: p.map((row, i) => row.map((value) => (sign(value) * left[i]) / norm)),
  };
}

/** By Cholesky's method. */
function solve(k: number[][], b: readonly number[]): number[] {
  const n = b.length;
  const l = k.map((row) => row.slice());
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = k[i][j];
      for (let q = 0; q < j; q++) sum -= l[i][q] * l[j][q];
      l[i][j] = i === j ? Math.sqrt(sum) : sum / l[j][j];
    }
  }
  const y = b.slice();
  for (let i = 0; i < n; i++) {
    for (let q = 0; q < i; q++) y[i] -= l[i][q] * y[q];
    y[i] /= l[i][i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let q = i + 1; q < n; q++) y[i] -= l[q][i] * y[q];
    y[i] /= l[i][i];
  }
  return y;
}

function matrix(values: Float32Array, rows: number, cols: number): number[][] {
  return Array.from({ length: rows }, (_, row) => [...values.subarray(row * cols, (row + 1) * cols)]);
}

function transpose(a: number[][]): number[][] {
  return a[0].map((_, col) => a.map((row) => row[col]));
}

function multiply(a: number[][], b: number[][]): number[][] {
  return a.map((row) => b[0].map((_, col) => row.reduce((sum, value, k) => sum + value * b[k][col], 0)));
}

function largestDifference(got: Float32Array, want: number[][]): number {
  return want.flat().reduce((worst, value, i) => Math.max(worst, Math.abs(value - got[i])), 0);
}
