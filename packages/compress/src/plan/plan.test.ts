import { modelSpec } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { planSpec } from "./plan-model.js";

const config = {
  model_type: "llama",
  vocab_size: 160,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
};
const spec = modelSpec(config, "the test model");
const plan = (options: Parameters<typeof planSpec>[1]) => planSpec(spec, options, 0);

describe("planSpec", () => {
  it.each([0.9, 1.3, 2])(
    "never spends more than the budget of %f bits on any linear, and a rank more would",
    (bpw) => {
      const { rows, totals } = plan({ bpw });
      for (const row of rows) {
        expect(row.bpw).toBeLessThanOrEqual(bpw);
        // One more rank: two padded sign rows and a middle scale.
        const perRank = 32 * (Math.ceil(row.rows / 32) + Math.ceil(row.cols / 32)) + 16;
        expect(row.bpw + perRank / (row.rows * row.cols)).toBeGreaterThan(bpw);
      }
      expect(totals.bpw).toBe(totals.compressedBpw);
      expect(totals.bpw).toBeLessThanOrEqual(bpw);
    },
  );

  it("adds up: every part of the file is accounted for", () => {
    const { rows, totals } = plan({ bpw: 1, embedBits: 8, keepFirst: 1 });
    expect(rows).toHaveLength(28);
    expect(totals.linearBytes).toBe(rows.reduce((sum, row) => sum + row.bytes, 0));
    expect(totals.embeddingBytes).toBe(160 * 64 + 160 * 2);
    expect(totals.headBytes).toBe(0);
    expect(totals.normBytes).toBe(9 * 64 * 2);
    const { linearBytes, embeddingBytes, normBytes, otherBytes, fileBytes } = totals;
    expect(linearBytes + embeddingBytes + normBytes + otherBytes).toBe(fileBytes);
    expect(totals.bpw).toBeGreaterThan(totals.compressedBpw);
  });

  it("keeps the blocks asked for dense, at 16 bits", () => {
    const { rows } = plan({ bpw: 1, keepFirst: 1, keepLast: 2 });
    expect(rows.map((row) => row.kind === "dense")).toEqual(rows.map((row) => row.site.layer !== 1));
    expect(rows.filter((row) => row.kind === "dense").every((row) => row.bpw === 16)).toBe(true);
  });

  it("fills a byte budget without passing it", () => {
    for (const bytes of [52_000, 60_000, 75_000]) {
      const { totals, targetBpw } = plan({ bytes });
      expect(totals.fileBytes).toBeLessThanOrEqual(bytes);
      expect(plan({ bpw: targetBpw * 1.05 }).totals.fileBytes).toBeGreaterThan(bytes);
    }
  });

  it("names the smallest possible budget, and takes it", () => {
    expect(() => plan({ bpw: 0.01 })).toThrow(/at least/);
    try {
      plan({ bpw: 0.01 });
    } catch (error) {
      const smallest = Number(/at least ([\d.]+)/.exec(String(error))![1]);
      expect(Math.min(...plan({ bpw: smallest }).rows.map((row) => row.rank))).toBe(1);
      expect(() => plan({ bpw: smallest - 2e-4 })).toThrow();
    }
    expect(() => plan({ bytes: 1000 })).toThrow(/smallest file/);
  });

  it("gives k and v more rank by the factor, and only them", () => {
    const [one, two] = [plan({ bpw: 2 }), plan({ bpw: 2, kvFactor: 2 })];
    for (const [i, row] of two.rows.entries()) {
      const isKv = row.site.role === "k" || row.site.role === "v";
      expect(row.rank).toBe(one.rows[i].rank * (isKv ? 2 : 1));
    }
  });

  it("sizes by the published formula on request: nanoquant's rank is bpw n m / (n + m) - 16", () => {
    const { rows, totals } = plan({ bpw: 2, method: "nanoquant", bitsFormula: "paper" });
    for (const { rows: n, cols: m, rank } of rows) expect(rank).toBe(Math.floor((2 * n * m) / (n + m) - 16));
    expect(totals.paperBpw).toBeLessThanOrEqual(2);
  });

  it.each([
    { bpw: 1, bytes: 5000 },
    { bpw: 1, keepFirst: 2, keepLast: 2 },
    { bpw: 1, kvFactor: 0 },
    { bpw: -1 },
    { bpw: 1, paths: 0 },
  ])("refuses %o", (options) => {
    expect(() => plan(options)).toThrow();
  });
});
