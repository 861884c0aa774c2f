import { normalVariates } from "@subbit/core";
import { afterAll, describe, expect, it } from "vitest";
import { Factoriser } from "./factoriser.js";
import { KEPT_DIRECTIONS, metricBasis, timesRoot } from "./metric-basis.js";
import { Programs } from "./programs.js";

/** Wide enough that only leading directions are kept. */
const COLS = 660;
/** Sums of several hundred products in single precision, beside a size of one. */
const TOLERANCE = 1e-3;

const programs = new Programs(1);
const factoriser = new Factoriser();
afterAll(async () => {
  await programs.dispose();
  await factoriser.dispose();
});

/** E[x x^T] of inputs with strong common directions under noise, mean diagonal 1. */
function correlated(cols: number, seed: number): Float32Array {
  const shared = 24;
  const mix = normalVariates(shared * cols, { seed });
  const gram = new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j < cols; j++) {
      let sum = i === j ? 0.3 : 0;
      for (let k = 0; k < shared; k++) sum += (mix[k * cols + i] * mix[k * cols + j]) / (1 + k);
      gram[i * cols + j] = sum;
    }
  }
  const mean = Array.from({ length: cols }, (_, i) => gram[i * cols + i]).reduce((a, b) => a + b) / cols;
  return gram.map((value) => value / mean);
}

const gram = correlated(COLS, 1);
const quadratic = (x: Float32Array): number => {
  let sum = 0;
  for (let i = 0; i < COLS; i++) for (let j = 0; j < COLS; j++) sum += x[i] * gram[i * COLS + j] * x[j];
  return sum;
};

describe("metricBasis", () => {
  it("agrees with a wide Gram matrix along what it keeps and is nowhere below it", async () => {
    const { basis, spectrum, tail, directions } = await metricBasis(gram, COLS, programs);
    expect(directions).toBe(KEPT_DIRECTIONS);
    expect(tail).toBeGreaterThan(0);
    for (const k of [0, 5, 20]) {
      const x = Float32Array.from({ length: COLS }, (_, i) => basis[i * directions + k]);
      expect(x.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 3);
      expect(Math.abs(quadratic(x) / spectrum[k] - 1)).toBeLessThan(TOLERANCE);
    }
    for (const seed of [3, 4, 5]) {
      const x = normalVariates(COLS, { seed });
      let stands = tail * x.reduce((sum, value) => sum + value * value, 0);
      for (let k = 0; k < directions; k++) {
        let along = 0;
        for (let i = 0; i < COLS; i++) along += x[i] * basis[i * directions + k];
        stands += (spectrum[k] - tail) * along ** 2;
      }
      expect(stands).toBeGreaterThan(quadratic(x) * (1 - TOLERANCE));
    }
  });

  it("gives a root: lengths of rows times it are lengths in the metric, for those along the directions", async () => {
    const known = await metricBasis(gram, COLS, programs);
    const x = Float32Array.from({ length: COLS }, (_, i) => known.basis[i * known.directions + 2]);
    const turned = await timesRoot(x, 1, COLS, known, programs);
    const length = turned.reduce((sum, value) => sum + value * value, 0);
    expect(Math.abs(length / quadratic(x) - 1)).toBeLessThan(TOLERANCE);
  });

  it("finds smaller errors in a wide metric than its diagonal does", async () => {
    const [rows, rank] = [24, 6];
    const weight = normalVariates(rows * COLS, { seed: 9 });
    const input = Float32Array.from({ length: COLS }, (_, i) => gram[i * COLS + i]);
    const options = { method: "auto", rank, iterations: 60 } as const;
    const full = await factoriser.factorise(weight, rows, COLS, {
      ...options,
      importance: { input, inputGram: gram, shrinkage: 0 },
    });
    const diagonal = await factoriser.factorise(weight, rows, COLS, {
      ...options,
      importance: { input, shrinkage: 0 },
    });
    expect(full.weightedRelError).toBeLessThan(0.9 * diagonal.weightedRelError);
  });
});
