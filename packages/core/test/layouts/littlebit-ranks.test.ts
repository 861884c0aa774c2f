/** LittleBit sizes its linears by one target for the model; from the ranks of a model that target is found again. */
import { expect, it } from "vitest";
import fc from "fast-check";
import { planLittleBit, storedBits } from "../../src/layouts/littlebit-ranks.js";
import type { LinearToWrite } from "../../src/layouts/official-layout.js";
import { LINEAR_ROLES } from "../../src/model/spec.js";

/** The published rule, written out: one formula for two paths, one for a single one, then steps of eight. */
function officialRank(n: number, m: number, bits: number, residual: boolean, factor: number): number {
  const whole = residual
    ? (n * m * bits - 32 * (n + m)) / (2 * (n + m + 16))
    : (n * m * bits - 16 * (n + m)) / (n + m + 16);
  return Math.max(8, Math.floor((whole * factor) / 8) * 8);
}

const SHAPES = {
  q: [64, 64],
  k: [32, 64],
  v: [32, 64],
  o: [64, 64],
  gate: [160, 64],
  up: [160, 64],
  down: [64, 160],
} as const;

function linearsOf(scale: number, rankOf: (n: number, m: number, kv: boolean) => number[]): LinearToWrite[] {
  return LINEAR_ROLES.map((role) => {
    const [rows, cols] = SHAPES[role].map((size) => size * scale);
    const ranks = rankOf(rows, cols, role === "k" || role === "v");
    return { site: { layer: 0, role }, name: role, kind: "factored", rows, cols, ranks, envelope: 1 };
  });
}

it("any target gives ranks from which a target with the same ranks is found", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 32 }),
      fc.double({ min: 0.3, max: 3, noNaN: true }),
      fc.boolean(),
      fc.constantFrom(1, 2, 4),
      (scale, bits, residual, factor) => {
        const sized = (target: number, kvFactor: number): LinearToWrite[] =>
          linearsOf(scale, (n, m, kv) =>
            new Array<number>(residual ? 2 : 1).fill(officialRank(n, m, target, residual, kv ? kvFactor : 1)),
          );
        const linears = sized(bits, factor);
        const { effBit, kvFactor, note } = planLittleBit(linears);
        // A factor multiplies a rank that may be below zero for the found target and above it for the given one.
        fc.pre(effBit !== null);
        expect(note).toBeUndefined();
        expect(sized(effBit, kvFactor)).toEqual(linears);
      },
    ),
  );
});

it("the official fixtures' targets give their ranks: 2.5 bits in two paths, 1.5 in one with a factor of 2", () => {
  const two = linearsOf(1, (n, m) => new Array<number>(2).fill(officialRank(n, m, 2.5, true, 1)));
  expect(two.map(({ ranks }) => ranks[0])).toEqual([16, 8, 8, 16, 32, 32, 32]);
  expect(planLittleBit(two).effBit).not.toBeNull();
  const one = linearsOf(1, (n, m, kv) => [officialRank(n, m, 1.5, false, kv ? 2 : 1)]);
  expect(one.map(({ ranks }) => ranks[0])).toEqual([24, 24, 24, 24, 48, 48, 48]);
  expect(planLittleBit(one)).toMatchObject({ kvFactor: expect.any(Number) as number });
  // As the official code stores it for the first linear of each.
  expect(storedBits(64, 64, 16, 2)).toBe(2.125);
  expect(storedBits(64, 64, 24, 1)).toBe(1.34375);
});

it("ranks that no target gives have none, and that is said", () => {
  const odd = planLittleBit(linearsOf(1, () => [13]));
  expect(odd.effBit).toBeNull();
  expect(odd.note).toMatch(/official LittleBit code/);
  const unequal = planLittleBit(linearsOf(4, (n) => [n > 300 ? 8 : 256]));
  expect(unequal.effBit).toBeNull();
});
