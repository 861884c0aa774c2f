import { normalVariates } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { type AdmmVariant, compileAdmm } from "./admm-program.js";
import { runAdmm } from "./admm.js";
import { runBlockedAdmm } from "./blocked-admm.js";
import { factorise } from "./factorise.js";
import {
  integerWeight,
  LARGEST_LOSS_OF_LARGE,
  LEVELS,
  transposedCodes,
  ZERO_POINT,
} from "./integer-weight.js";
import { type SignPath, transposed } from "./sign-path.js";

/** Both runs end in different local optima of equal depth; a fault of the codes shows in the first digit. */
const SAME_DEPTH = 0.02;

describe("integerWeight", () => {
  it.each([
    [7, 12],
    [33, 5],
  ])("holds every entry of a %i x %i matrix to half a code, both ways round", (rows, cols) => {
    const weight = normalVariates(rows * cols, { seed: cols });
    const codes = integerWeight(weight, rows, cols)!;
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const entry = weight[row * cols + col];
        const out = (codes.outCodes[row * cols + col] - ZERO_POINT) * codes.outCodeScales[row];
        const into = (codes.inCodes[col * rows + row] - ZERO_POINT) * codes.inCodeScales[col];
        const slack = 1.001;
        expect(Math.abs(out - entry * codes.inEqualiser[col])).toBeLessThan(
          0.5 * slack * codes.outCodeScales[row],
        );
        expect(Math.abs(into - entry * codes.outEqualiser[row])).toBeLessThan(
          0.5 * slack * codes.inCodeScales[col],
        );
      }
    }
  });

  it("refuses a matrix whose codes would lose too much: one entry a row drowns the others", () => {
    const size = 400;
    const weight = normalVariates(size * size, { seed: 1 });
    expect(integerWeight(weight, size, size)).toBeDefined();
    for (let row = 0; row < size; row++) weight[row * size + ((row * 7) % size)] = 300;
    expect(integerWeight(weight, size, size)).toBeUndefined();
  });

  it("takes more loss where it is told to", () => {
    const size = 400;
    const weight = normalVariates(size * size, { seed: 1 });
    for (let row = 0; row < size; row++) weight[row * size + ((row * 7) % size)] = 25;
    expect(integerWeight(weight, size, size)).toBeUndefined();
    expect(integerWeight(weight, size, size, LARGEST_LOSS_OF_LARGE)).toBeDefined();
  });

  it("gives the transposed matrix the transposed codes", () => {
    const [rows, cols] = [19, 34];
    const weight = normalVariates(rows * cols, { seed: 4 });
    const turned = integerWeight(transposed(weight, rows, cols), cols, rows);
    const expected = transposedCodes(integerWeight(weight, rows, cols)!);
    const farthest = (name: keyof typeof expected): number => {
      let most = 0;
      expected[name].forEach((value: number, i: number) => {
        most = Math.max(most, Math.abs(value - turned![name][i]));
      });
      return most;
    };
    // Scales are divided in another precision one way round, which may move a code on the edge between two.
    for (const name of ["outCodes", "inCodes"] as const) expect(farthest(name)).toBeLessThanOrEqual(1);
    for (const name of ["outCodeScales", "inCodeScales", "outEqualiser", "inEqualiser"] as const)
      expect(farthest(name)).toBeLessThan(1e-6);
  });

  it("gives rows and columns of zeros codes of zero", () => {
    const weight = normalVariates(6 * 8, { seed: 2 });
    for (let col = 0; col < 8; col++) weight[2 * 8 + col] = 0;
    for (let row = 0; row < 6; row++) weight[row * 8 + 5] = 0;
    const { outCodes, inCodes } = integerWeight(weight, 6, 8)!;
    for (let col = 0; col < 8; col++) expect(outCodes[2 * 8 + col]).toBe(ZERO_POINT);
    for (let row = 0; row < 6; row++) expect(inCodes[5 * 6 + row]).toBe(ZERO_POINT);
  });
});

describe("an integer ADMM run", () => {
  it.each([
    [40, 56, 14],
    [65, 33, 20],
  ])("ends as deep as one in floats for a %i x %i matrix of rank %i", async (rows, cols, rank) => {
    const weight = normalVariates(rows * cols, { seed: rank });
    const shape = { rows, cols, rank };
    const errors: number[] = [];
    for (const integer of [false, true]) {
      const variant: AdmmVariant = {
        middle: "unit",
        projections: 1,
        ridge: 0.003,
        smallestRho: 0.05,
        integer,
      };
      const program = await compileAdmm(shape, variant, { threads: 1 });
      const rhos = Array.from({ length: 120 }, (_, t) => 0.05 + (0.95 * t) / 119);
      const run = {
        program: () => Promise.resolve(program),
        shape,
        variant,
        weight,
        rhos,
        seed: 3,
        stream: 0,
      };
      errors.push(bestError(weight, await runAdmm(run), rows, cols, rank));
      await program.dispose();
    }
    expect(errors[1]).toBeLessThan(errors[0] * (1 + SAME_DEPTH));
  });

  it("stays finite at ranks far above the dimensions, where Gram matrices are singular", async () => {
    const [rows, cols, rank] = [16, 64, 180];
    const weight = normalVariates(rows * cols, { seed: 1 });
    const found = await factorise(weight, rows, cols, { method: "auto", rank, iterations: 6 });
    expect(found.relError).toBeLessThan(0.5);
  });

  it("ends as deep slab by slab", async () => {
    const [rows, cols, rank] = [71, 45, 19];
    const weight = normalVariates(rows * cols, { seed: rank });
    const shape = { rows, cols, rank };
    const variant: AdmmVariant = {
      middle: "unit",
      projections: 1,
      ridge: 0.003,
      smallestRho: 0.05,
      integer: true,
    };
    const rhos = Array.from({ length: 120 }, (_, t) => 0.05 + (0.95 * t) / 119);
    const program = await compileAdmm(shape, variant, { threads: 1 });
    const run = { shape, variant, rhos, seed: 3, stream: 0 };
    const whole = await runAdmm({ ...run, weight, program: () => Promise.resolve(program) });
    await program.dispose();
    const codes = integerWeight(weight, rows, cols)!;
    const slabs = await runBlockedAdmm({ ...run, codes, threads: 1, slab: 32 });
    const errors = [whole, slabs].map((path) => bestError(weight, path, rows, cols, rank));
    expect(errors[1]).toBeLessThan(errors[0] * (1 + SAME_DEPTH));
    const again = await runBlockedAdmm({ ...run, codes, threads: 1, slab: 32 });
    expect(again).toEqual(slabs);
  });

  it("keeps magnitudes on whole multiples of step times equaliser", async () => {
    const [rows, cols, rank] = [20, 31, 6];
    const weight = normalVariates(rows * cols, { seed: 8 });
    const codes = integerWeight(weight, rows, cols)!;
    const variant: AdmmVariant = {
      middle: "unit",
      projections: 1,
      ridge: 0.01,
      smallestRho: 0.1,
      integer: true,
    };
    const program = await compileAdmm({ rows, cols, rank }, variant, { threads: 1 });
    const start = Object.fromEntries(
      (["out", "in"] as const).flatMap((side) => {
        const length = side === "out" ? rows : cols;
        const equaliser = codes[`${side}Equaliser`];
        const signs = normalVariates(length * rank, { seed: length });
        return [
          [
            `${side}.projected`,
            signs.map((value, i) => (value < 0 ? -1 : 1) * equaliser[Math.floor(i / rank)]),
          ],
          [`${side}.dual`, new Float32Array(length * rank)],
          [`${side}.norm`, Float32Array.of(Math.hypot(...equaliser))],
          [`${side}.step`, Float32Array.of(1)],
        ];
      }),
    ) as Parameters<typeof program.run>[1];
    const { state } = await program.run(codes, start, [0.5, 0.6]);
    await program.dispose();
    state["out.projected"].forEach((value, i) => {
      const unit = state["out.step"][0] * codes.outEqualiser[Math.floor(i / rank)];
      const levels = Math.abs(value / unit);
      expect(levels).toBeCloseTo(Math.round(levels), 3);
      expect(Math.round(levels)).toBeGreaterThanOrEqual(1);
      expect(Math.round(levels)).toBeLessThanOrEqual(LEVELS);
    });
  });
});

/** Relative error of the path's signs with its scales, times the one factor that fits best. */
function bestError(weight: Float32Array, path: SignPath, rows: number, cols: number, rank: number): number {
  let [dot, square, whole] = [0, 0, 0];
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) {
        sum += path.outLatents[row * rank + k] < 0 === path.inLatents[col * rank + k] < 0 ? 1 : -1;
      }
      const made = sum * path.outScales[row] * path.inScales[col];
      const entry = weight[row * cols + col];
      dot += made * entry;
      square += made * made;
      whole += entry * entry;
    }
  }
  return Math.sqrt(1 - dot ** 2 / (square * whole));
}
