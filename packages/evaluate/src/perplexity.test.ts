import { SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { argmax, klDivergence, logSumExp } from "./distribution.js";
import { evaluatePerplexity } from "./perplexity.js";
import type { LogitTile, Scorer } from "./scorer.js";

/** Sums of f32 logits in f64; what is left is the rounding of the logits themselves. */
const F32_TOLERANCE = 1e-6;

/** A scorer whose logits at a position depend on the token there, in tiles of a given size. */
function tableScorer(vocabSize: number, logitsAfter: (id: number) => ArrayLike<number>, tile = 3): Scorer {
  return {
    name: "table",
    vocabSize,
    async *tiles(ids): AsyncGenerator<LogitTile> {
      const reused = new Float32Array(tile * vocabSize);
      for (let begin = 0; begin < ids.length; begin += tile) {
        const count = Math.min(tile, ids.length - begin);
        for (let t = 0; t < count; t++) reused.set(Array.from(logitsAfter(ids[begin + t])), t * vocabSize);
        yield { count, logits: reused.subarray(0, count * vocabSize) };
      }
    },
  };
}

const ids = (count: number, vocab: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => (i * 7919 + 13) % vocab);

describe("evaluatePerplexity", () => {
  it("gives the vocabulary size for a uniform model", async () => {
    const report = await evaluatePerplexity(
      { ids: ids(100, 50), seqlen: 9 },
      tableScorer(50, () => new Float64Array(50).fill(3.25)),
    );
    expect(report.ppl).toBeCloseTo(50, 9);
    expect(report.windows).toHaveLength(11);
    expect(report.tokens).toBe(99);
    expect(report.targets).toBe(88);
  });

  it("gives 1 for a model that knows the next token, and forgets across windows", async () => {
    const vocab = 11;
    const text = Int32Array.from({ length: 40 }, (_, i) => i % vocab);
    const knowing = tableScorer(vocab, (id) =>
      Array.from({ length: vocab }, (_, j) => (j === (id + 1) % vocab ? 200 : 0)),
    );
    expect((await evaluatePerplexity({ ids: text, seqlen: 10 }, knowing)).ppl).toBeCloseTo(1, 12);
  });

  it("averages windows as the protocol says: exp(mean of window means)", async () => {
    // Token 0 predicts everything with p = 1/2 of being 0; token 1 with p = 1/4.
    const scorer = tableScorer(2, (id) => (id === 0 ? [0, 0] : [Math.log(3), 0]));
    const report = await evaluatePerplexity(
      { ids: Int32Array.of(0, 0, 0, 1, 1, 1, 0), seqlen: 3, windows: 5 },
      scorer,
    );
    expect(report.windows[0]).toBeCloseTo(Math.log(2), 6);
    expect(report.windows[1]).toBeCloseTo(Math.log(4), 6);
    expect(report.ppl).toBeCloseTo(Math.sqrt(8), 5);
    expect(report.firstIds).toEqual([0, 0, 0, 1, 1, 1, 0]);
  });

  it("measures KL and agreement against the teacher in closed form", async () => {
    const student = tableScorer(2, () => [0, 0]);
    // Teacher (3/4, 1/4): KL to (1/2, 1/2) = log 2 - H(1/4).
    const teacher = tableScorer(2, (id) => (id === 0 ? [Math.log(3), 0] : [0, Math.log(3)]), 4);
    const report = await evaluatePerplexity(
      { ids: Int32Array.of(0, 1, 0, 1, 0, 0, 1, 1), seqlen: 8 },
      student,
      { teacher },
    );
    const entropy = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
    expect(report.kl).toBeCloseTo(Math.log(2) - entropy, 6);
    // The student's tie goes to token 0: it agrees where the teacher read a 0 (positions 0, 2, 4, 5 of 7).
    expect(report.top1Agreement).toBeCloseTo(4 / 7, 12);
    expect(report.teacher?.windows).toHaveLength(1);
    expect((await evaluatePerplexity({ ids: ids(20, 2), seqlen: 10 }, teacher, { teacher })).kl).toBe(0);
  });

  it("says what is wrong with a text or a teacher that does not fit", async () => {
    const two = tableScorer(2, () => [0, 0]);
    await expect(evaluatePerplexity({ ids: ids(5, 2), seqlen: 6 }, two)).rejects.toThrow(/only 5 tokens/);
    await expect(evaluatePerplexity({ ids: ids(5, 2), seqlen: 1 }, two)).rejects.toThrow(/at least 2/);
    await expect(evaluatePerplexity({ ids: Int32Array.of(0, 7), seqlen: 2 }, two)).rejects.toThrow(/token 7/);
    const three = tableScorer(3, () => [0, 0, 0]);
    await expect(evaluatePerplexity({ ids: ids(5, 2), seqlen: 2 }, two, { teacher: three })).rejects.toThrow(
      /vocabulary/,
    );
  });

  it("stops between windows when the signal fires, and reports progress that never decreases", async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const run = evaluatePerplexity(
      { ids: ids(100, 2), seqlen: 10 },
      tableScorer(2, () => [0, 0]),
      {
        signal: controller.signal,
        onProgress: ({ done, total }) => {
          seen.push(done);
          expect(total).toBe(10);
          if (done === 4) controller.abort();
        },
      },
    );
    await expect(run).rejects.toThrow(SubbitError);
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("distributions", () => {
  it("do not overflow and agree with the definition", () => {
    const rows = [Float32Array.of(1000, 999, -1000), Float32Array.of(0.5, -2, 3)];
    for (const row of rows) {
      const max = Math.max(...row);
      const plain = max + Math.log([...row].reduce((sum, value) => sum + Math.exp(value - max), 0));
      expect(logSumExp(row)).toBeCloseTo(plain, 12);
    }
    const p = [0.2, 0.3, 0.5];
    const q = [0.6, 0.1, 0.3];
    const kl = p.reduce((sum, value, i) => sum + value * Math.log(value / q[i]), 0);
    const logits = (values: number[], shift: number) =>
      Float32Array.from(values, (value) => Math.log(value) + shift);
    expect(Math.abs(klDivergence(logits(p, 4), logits(q, -2)) - kl)).toBeLessThan(F32_TOLERANCE);
    expect(argmax(Float32Array.of(1, 5, 5))).toBe(1);
  });
});
