import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomDense, randomFactored, randomOneBit } from "../../test/random-linears.js";
import {
  bitsOfDense,
  bitsOfDenseMatrix,
  bitsOfOneBit,
  bitsOfRank,
  factoredShape,
  honestBpw,
  paperBpw,
  rankForBits,
  rankForPaperBits,
  smallestBpw,
} from "./bits.js";
import { reduceDense } from "./narrow.js";

const shape = { rows: 4096, cols: 4096, paths: 1, envelope: 1, midScale: true, scaleBits: 16 } as const;

describe("honest bits", () => {
  it("count signs with padding and every scale", () => {
    const odd = { ...shape, rows: 33, cols: 64, rank: 5 };
    expect(bitsOfRank(odd)).toEqual({ signs: 5 * (64 + 64), scales: 16 * (33 + 64 + 5), total: 640 + 1632 });
    const mdbf = { ...odd, envelope: 2, paths: 2 };
    expect(bitsOfRank(mdbf).scales).toBe(2 * 16 * (2 * 97 + 2 * 2 * 5));
    expect(bitsOfRank({ ...odd, midScale: false }).scales).toBe(16 * 97);
  });

  it("give the largest rank that fits: one more would not", () => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 5000 }),
          cols: fc.integer({ min: 1, max: 5000 }),
          paths: fc.integer({ min: 1, max: 3 }),
          envelope: fc.integer({ min: 1, max: 8 }),
          midScale: fc.boolean(),
          scaleBits: fc.constantFrom(16 as const, 8 as const),
        }),
        fc.double({ min: 0.05, max: 4, noNaN: true }),
        (free, bpw) => {
          const rank = rankForBits({ ...free, bpw });
          const budget = bpw * free.rows * free.cols;
          const at = (r: number) => bitsOfRank({ ...free, rank: r }).total;
          if (rank > 0) expect(at(rank)).toBeLessThanOrEqual(budget * (1 + 1e-9));
          expect(at(rank + 1)).toBeGreaterThan(budget);
          expect(rank === 0).toBe(smallestBpw(free) > bpw * (1 + 1e-12));
        },
      ),
    );
  });

  it("give the rank back that the bits came from", () => {
    for (const rank of [1, 31, 32, 33, 255]) {
      const bits = bitsOfRank({ ...shape, rows: 576, cols: 192, rank }).total;
      expect(rankForBits({ rows: 576, cols: 192, bpw: bits / (576 * 192) })).toBe(rank);
    }
  });
});

describe("honest bits of the other forms", () => {
  const odd = { rows: 33, cols: 64, rank: 5, paths: 2, envelope: 1, midScale: true, scaleBits: 16 } as const;

  it("count 8 bits a scale and a base a vector", () => {
    const eight = { ...odd, scaleBits: 8 } as const;
    expect(bitsOfRank(eight).scales).toBe(2 * (8 * (33 + 64 + 5) + 16 * 3));
    expect(bitsOfRank({ ...eight, envelope: 3 }).scales).toBe(2 * (8 * 3 * (33 + 64 + 2 * 5) + 16 * 3 * 4));
    expect(bitsOfRank({ ...eight, midScale: false }).scales).toBe(2 * (8 * 97 + 16 * 2));
  });

  it("count every path at its own rank", () => {
    for (const scaleBits of [16, 8] as const) {
      const at = (ranks: readonly number[]) =>
        bitsOfRank({ ...odd, scaleBits, rank: ranks[0], ranks, paths: ranks.length });
      expect(at([5, 5])).toEqual(bitsOfRank({ ...odd, scaleBits }));
      const apart = [3, 9].map((rank) => bitsOfRank({ ...odd, scaleBits, rank, paths: 1 }).total);
      expect(at([3, 9]).total).toBe(apart[0] + apart[1]);
    }
    const paper = (ranks: readonly number[]) => paperBpw("littlebit", { ...odd, rank: ranks[0], ranks });
    expect(paper([4, 6])).toBeCloseTo(paperBpw("littlebit", odd)!, 12);
  });

  it("count OneBit's signs with padding and two vectors", () => {
    expect(bitsOfOneBit({ rows: 33, cols: 65 })).toEqual({
      signs: 33 * 96,
      scales: 16 * 98,
      total: 33 * 96 + 16 * 98,
    });
    expect(bitsOfOneBit({ rows: 33, cols: 65, scaleBits: 8 }).scales).toBe(8 * 98 + 32);
    expect(honestBpw(randomOneBit(33, 65))).toBe((33 * 96 + 16 * 98) / (33 * 65));
  });

  it("count whole bytes a row of narrow codes", () => {
    expect(bitsOfDense("i2")).toBe(2);
    expect(bitsOfDenseMatrix("i2", 3, 9)).toEqual({ values: 3 * 24, scales: 48, total: 120 });
    expect(bitsOfDenseMatrix("i4", 3, 9).values).toBe(3 * 40);
    expect(bitsOfDenseMatrix("i8", 3, 9).values).toBe(3 * 72);
    expect(bitsOfDenseMatrix("bf16", 3, 9)).toEqual({ values: 432, scales: 0, total: 432 });
    expect(honestBpw(reduceDense(randomDense(3, 9), 2))).toBe(120 / 27);
  });

  it("take the shape from the linear: ranks only where they differ", () => {
    const shape = factoredShape(randomFactored(4, 5, { ranks: [7, 2], scaleBits: 8 }));
    expect(shape).toEqual({
      rows: 4,
      cols: 5,
      rank: 7,
      ranks: [7, 2],
      paths: 2,
      envelope: 1,
      midScale: true,
      scaleBits: 8,
    });
    expect(factoredShape(randomFactored(4, 5, { ranks: [7, 7] }))).not.toHaveProperty("ranks");
    const linear = randomFactored(4, 5, { ranks: [1, 1] });
    const mixed = { ...linear, paths: [linear.paths[0], randomFactored(4, 5, { midScale: false }).paths[0]] };
    expect(() => factoredShape(mixed)).toThrow(/envelope or middle scale/);
  });
});

describe("published formulas", () => {
  it("give the figures of the papers' layers", () => {
    expect(paperBpw("onebit", { ...shape, rank: 1 })).toBeCloseTo(1.0078, 4);
    expect(paperBpw("onebit", { ...shape, rows: 1024, rank: 1 })).toBeCloseTo(1.0195, 4);
    // DBF's code takes rank 2048 for a nominal 1.0, which is 1.0098 with its scales.
    expect(paperBpw("dbf", { ...shape, rank: 2048 })).toBeCloseTo(1.0098, 4);
    expect(paperBpw("dense", { ...shape, rank: 1 })).toBeUndefined();
  });

  it("give LittleBit's published ranks per path, which are floored to multiples of 8", () => {
    const at = (rows: number, cols: number, bpw: number) =>
      Math.floor(rankForPaperBits("littlebit", { rows, cols, paths: 2, bpw }) / 8) * 8;
    expect([1, 0.8, 0.7, 0.55, 0.3, 0.1].map((bpw) => at(4096, 4096, bpw))).toEqual([
      1000, 800, 696, 544, 288, 80,
    ]);
    expect([1, 0.8, 0.55, 0.3].map((bpw) => at(11008, 4096, bpw))).toEqual([1472, 1176, 800, 424]);
  });

  it("give MDBF's ranks by envelope", () => {
    const at = (envelope: number, bpw: number) =>
      rankForPaperBits("mdbf", { rows: 4096, cols: 4096, envelope, bpw });
    expect([1, 2, 4, 8, 16].map((envelope) => at(envelope, 1))).toEqual([2024, 2000, 1953, 1861, 1686]);
    expect([1, 2, 4, 8].map((envelope) => at(envelope, 0.1))).toEqual([188, 171, 138, 74]);
  });

  it("refuse a rank for a method whose formula has none", () => {
    expect(() => rankForPaperBits("onebit", { rows: 8, cols: 8, bpw: 1 })).toThrow(/onebit/);
  });
});
