import { normalVariates, storedForm } from "@subbit/core";
import { afterAll, describe, expect, it } from "vitest";
import {
  correlatedGram,
  denseOf,
  metricEnergy,
  randomSigns,
  relativeError,
  sized,
  type Start,
  STARTS,
} from "../../test/every-start.js";
import { Factoriser } from "./factoriser.js";
import { transposed } from "./sign-path.js";
import type { FactorisedLinear, FactoriseOptions } from "./types.js";

/** Scales are halves: relative steps of 2^-11, of which three or four are multiplied. */
const HALF_STEPS = 2e-3;
/** Refits begin with the rows, and two rounds of them do not end where the other order does when ADMM was cut short. */
const REFIT_ORDER = 0.01;
/** Two annealings from different random starts of a matrix this small. */
const SPREAD = 0.03;

const factoriser = new Factoriser();
afterAll(() => factoriser.dispose());

const factorise = (weight: Float32Array, rows: number, cols: number, options: FactoriseOptions) =>
  factoriser.factorise(weight, rows, cols, options);

const factored = STARTS.filter(({ kind }) => kind === "factored");

describe.each(STARTS.map((start) => [start.name, start] as const))("%s", (_name, start: Start) => {
  it("recovers a rank-1 sign matrix", async () => {
    const [rows, cols] = [21, 34];
    const [left, right] = [randomSigns(rows, 0), randomSigns(cols, 1)];
    const weight = Float32Array.from(
      { length: rows * cols },
      (_, at) => left[Math.floor(at / cols)] * right[at % cols],
    );
    const { linear, relError } = await factorise(weight, rows, cols, sized(start, 1, { paths: 1 }));
    expect(relError).toBeLessThan(HALF_STEPS);
    denseOf(linear).forEach((value, at) => expect(Math.sign(value)).toBe(weight[at]));
  });

  it.each([
    [1, 5, 1],
    [7, 1, 1],
    [33, 19, 6],
    [31, 65, 17],
  ])("gives finite scales in their stored form for %i x %i at rank %i", async (rows, cols, rank) => {
    const weight = normalVariates(rows * cols, { seed: rows });
    for (const scaleBits of [16, 8] as const) {
      const found = await factorise(weight, rows, cols, sized(start, rank, { scaleBits, iterations: 12 }));
      expect(found.linear.scaleBits).toBe(scaleBits);
      expect(isStored(found)).toBe(true);
      const made = denseOf(found.linear);
      expect(made.every(Number.isFinite)).toBe(true);
      expect(found.relError).toBeCloseTo(relativeError(weight, made), 4);
      expect(found.relError).toBeLessThan(1.05);
    }
  });

  it("gives the same bytes twice", async () => {
    const [rows, cols] = [24, 17];
    const weight = normalVariates(rows * cols, { seed: 2 });
    const options = sized(start, 5, { seed: 3 });
    const first = await factorise(weight, rows, cols, options);
    const second = await factorise(weight, rows, cols, options);
    expect({ ...second, seconds: 0 }).toEqual({ ...first, seconds: 0 });
  });

  it("scales with the weight and changes nothing else", async () => {
    const [rows, cols] = [30, 22];
    const weight = normalVariates(rows * cols, { seed: 4 });
    const one = await factorise(weight, rows, cols, sized(start, 6));
    const four = await factorise(
      weight.map((value) => 4 * value),
      rows,
      cols,
      sized(start, 6),
    );
    expect([...denseOf(four.linear)]).toEqual([...denseOf(one.linear).map((value) => 4 * value)]);
    expect(four.latents).toEqual(one.latents);
  });

  it("folds scaled rows and columns out again when their importance says so", async () => {
    const [rows, cols] = [30, 22];
    const weight = normalVariates(rows * cols, { seed: 4 });
    const powers = (count: number, stream: number) =>
      normalVariates(count, { seed: 5, stream }).map((value) => 2 ** Math.round(value));
    const [byRow, byCol] = [powers(rows, 0), powers(cols, 1)];
    const scaled = weight.map((value, at) => value * byRow[Math.floor(at / cols)] * byCol[at % cols]);
    const importance = {
      output: byRow.map((value) => value ** -2),
      input: byCol.map((value) => value ** -2),
      shrinkage: 0,
    };
    const plain = await factorise(weight, rows, cols, sized(start, 6));
    const folded = await factorise(scaled, rows, cols, sized(start, 6, { importance }));
    // `copy` has flat scales, which cannot follow those of the weight.
    if (start.options.init === "copy") return;
    expect(Math.abs(folded.weightedRelError - plain.relError)).toBeLessThan(
      start.isAnnealed ? SPREAD : HALF_STEPS,
    );
  });

  it("transposes with the matrix", async () => {
    const [rows, cols] = [20, 33];
    const weight = normalVariates(rows * cols, { seed: 6 });
    // One path: what a second one fits is the rounding of the first one too.
    const paths = { paths: 1 };
    const upright = await factorise(weight, rows, cols, sized(start, 7, paths));
    const turned = await factorise(transposed(weight, rows, cols), cols, rows, sized(start, 7, paths));
    const back = transposed(denseOf(turned.linear), cols, rows);
    expect(relativeError(denseOf(upright.linear), back)).toBeLessThan(
      start.isAnnealed ? REFIT_ORDER : HALF_STEPS,
    );
    // Squares have no side to start from; the other start is as good.
    const square = normalVariates(24 * 24, { seed: 7 });
    const [a, b] = [
      await factorise(square, 24, 24, sized(start, 7)),
      await factorise(transposed(square, 24, 24), 24, 24, sized(start, 7)),
    ];
    expect(Math.abs(a.relError - b.relError)).toBeLessThan(SPREAD);
  });

  it("takes zeros and a matrix of one entry", async () => {
    const zeros = await factorise(new Float32Array(9 * 4), 9, 4, sized(start, 2));
    expect(denseOf(zeros.linear).every((value) => value === 0)).toBe(true);
    const single = await factorise(Float32Array.of(-5), 1, 1, sized(start, 1, { paths: 1 }));
    expect(single.relError).toBeLessThan(HALF_STEPS);
  });

  it("loses less in the metric of a Gram matrix when it is given one", async () => {
    const [rows, cols] = [26, 30];
    const weight = normalVariates(rows * cols, { seed: 8 });
    const gram = correlatedGram(cols, 9);
    const input = Float32Array.from({ length: cols }, (_, i) => gram[i * cols + i]);
    const zero = new Float32Array(weight.length);
    const judge = (made: Float32Array) =>
      Math.sqrt(metricEnergy(weight, made, gram, cols) / metricEnergy(weight, zero, gram, cols));
    const diagonal = await factorise(weight, rows, cols, sized(start, 6, { importance: { input } }));
    const full = await factorise(
      weight,
      rows,
      cols,
      sized(start, 6, { importance: { input, inputGram: gram } }),
    );
    expect(full.weightedRelError).toBeCloseTo(judge(denseOf(full.linear)), 4);
    expect(full.weightedRelError).toBeLessThan(judge(denseOf(diagonal.linear)));
  });
});

describe.each(factored.map((start) => [start.name, start] as const))("%s", (_name, start: Start) => {
  it("is never made worse by gradient refinement", async () => {
    const [rows, cols] = [25, 31];
    const weight = normalVariates(rows * cols, { seed: 10 });
    for (const paths of [1, 2]) {
      const plain = await factorise(weight, rows, cols, sized(start, 5, { paths }));
      const refined = await factorise(weight, rows, cols, sized(start, 5, { paths, refineSteps: 40 }));
      expect(refined.relError).toBeLessThan(plain.relError + HALF_STEPS / 4);
    }
  });

  it("takes a rank for every path", async () => {
    const [rows, cols] = [18, 27];
    const weight = normalVariates(rows * cols, { seed: 11 });
    const options = { ...start.options, iterations: 20, ranks: [7, 3] };
    const { linear, latents } = await factorise(weight, rows, cols, options);
    if (linear.kind !== "factored") throw new Error("A factored linear was expected.");
    expect(linear.paths.map(({ rank }) => rank)).toEqual([7, 3]);
    expect(latents.map(({ outLatents }) => outLatents.length)).toEqual([rows * 7, rows * 3]);
  });
});

function isStored({ linear }: FactorisedLinear): boolean {
  const again = linear.kind === "onebit" ? storedForm(linear) : storedForm(linear);
  try {
    expect(again).toEqual(linear);
    return true;
  } catch {
    return false;
  }
}
