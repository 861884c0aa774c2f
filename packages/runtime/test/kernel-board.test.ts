/** The bench of kernels runs what it says; its times are nobody's test. */
import { expect, it } from "vitest";
import { benchKernels, macsOf, weightBytesOf, type Product } from "../src/bench/index.js";

const factored: Product = { kind: "factored", rows: 50, rank: 20, cols: 70, tokens: 1 };
const dense: Product = { kind: "dense", dtype: "i4", rows: 30, cols: 40, tokens: 3 };

it("counts signs and multiply-accumulates", () => {
  expect(macsOf(factored)).toBe(20 * (50 + 70));
  expect(weightBytesOf(factored)).toBe((20 * (50 + 70)) / 8);
  expect(macsOf(dense)).toBe(3 * 30 * 40);
  expect(weightBytesOf(dense)).toBe((30 * 40) / 2);
});

it("measures every product at every thread count beside the bounds", async () => {
  let last = 0;
  const { bounds, rows } = await benchKernels({
    threads: [1, 2],
    rounds: 2,
    products: [factored, dense],
    onRun: (done, total) => (last = done / total),
  });
  expect(last).toBe(1);
  expect(bounds.map(({ threads }) => threads)).toEqual([1, 2]);
  expect(rows.map(({ threads, product }) => [threads, product])).toEqual([
    [1, factored],
    [1, dense],
    [2, factored],
    [2, dense],
  ]);
  for (const row of rows) {
    expect(row.gmacs.median).toBeGreaterThan(0);
    expect(row.gmacs.best).toBeGreaterThanOrEqual(row.gmacs.median);
    expect(row.shareOfLoads !== undefined && row.shareOfLoads > 0).toBe(row.product === factored);
  }
});
