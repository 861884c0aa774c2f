import { normalVariates } from "@subbit/core";
import { compile, Graph } from "@subbit/engine";
import { describe, expect, it } from "vitest";
import { Identities, invert, inverseCoefficients, LEAF, stepsNeeded } from "./inverse.js";

/** Single precision over products of a few hundred terms, times the condition number of about 30. */
const TOLERANCE = 2e-4;

/** Gram matrix of unit columns plus `shift` on the diagonal, as ADMM makes it. */
function shiftedGram(size: number, length: number, shift: number, seed: number): Float32Array {
  const x = normalVariates(length * size, { seed });
  const gram = new Float32Array(size * size);
  const norms = Array.from({ length: size }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < length; i++) sum += x[i * size + k] ** 2;
    return Math.sqrt(sum);
  });
  for (let a = 0; a < size; a++) {
    for (let b = 0; b < size; b++) {
      let sum = 0;
      for (let i = 0; i < length; i++) sum += x[i * size + a] * x[i * size + b];
      gram[a * size + b] = sum / (norms[a] * norms[b]) + (a === b ? shift : 0);
    }
  }
  return gram;
}

async function inverseOf(
  matrix: Float32Array,
  size: number,
  [low, high]: readonly [number, number],
  careful = false,
): Promise<Float32Array> {
  const steps = stepsNeeded(low, high);
  const coefficients = inverseCoefficients(low, high, steps);
  const graph = new Graph();
  const input = graph.input("matrix", [size, size]);
  const scalars = Array.from({ length: steps }, (_, i) => ({
    identity: graph.scalar(coefficients[2 * i]),
    product: graph.scalar(coefficients[2 * i + 1]),
  }));
  graph.output("inverse", invert(input, scalars, new Identities(graph), { careful }));
  const program = await compile(graph);
  const { inverse } = await program.run({ matrix });
  await program.dispose();
  return inverse;
}

describe("invert", () => {
  it.each([
    [1, 9],
    [7, 5],
    [LEAF, 100],
    [LEAF + 1, 60],
    [201, 300],
  ])("inverts a shifted Gram matrix of %i columns of length %i", async (size, length) => {
    const matrix = shiftedGram(size, length, 0.05, size);
    const inverse = await inverseOf(matrix, size, [0.05, LEAF + 0.05]);
    expect(largestError(matrix, inverse, size)).toBeLessThan(TOLERANCE);
  });

  it("keeps a nearly singular matrix when it is careful", async () => {
    // All columns alike but for a tenth: one eigenvalue near the order, the others near 0.01, and the shift.
    const size = 300;
    const signs = normalVariates(size, { seed: 1 }).map(Math.sign);
    const noise = normalVariates(40 * size, { seed: 2 });
    const matrix = new Float32Array(size * size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        let sum = 0;
        for (let k = 0; k < 40; k++) sum += noise[k * size + i] * noise[k * size + j];
        matrix[i * size + j] = 0.99 * signs[i] * signs[j] + (0.01 * sum) / 40 + (i === j ? 0.3 : 0);
      }
    }
    const bounds = [0.3, LEAF * 1.1 + 0.3] as const;
    const plain = largestError(matrix, await inverseOf(matrix, size, bounds), size);
    const careful = largestError(matrix, await inverseOf(matrix, size, bounds, true), size);
    expect(careful).toBeLessThan(1e-3);
    expect(careful).toBeLessThan(plain);
  });

  it("needs fewer steps than plain Newton-Schulz", () => {
    const condition = 1000;
    let plain = 0;
    for (let x = 1 / condition; 1 - x > 1e-7; x *= 2 - x) plain++;
    expect(stepsNeeded(1, condition)).toBeLessThan(0.75 * plain);
  });
});

/** Largest entry of |matrix inverse - I|. */
function largestError(matrix: Float32Array, inverse: Float32Array, size: number): number {
  let worst = 0;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += matrix[i * size + k] * inverse[k * size + j];
      worst = Math.max(worst, Math.abs(sum - (i === j ? 1 : 0)));
    }
  }
  return worst;
}
