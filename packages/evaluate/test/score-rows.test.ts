import { describe, expect, it } from "vitest";
import type { LogLikelihoods } from "../src/tasks/metrics.js";
import { prepareTask, scoreTask, type ScoreStore } from "../src/tasks/score-rows.js";
import type { TaskRow } from "../src/tasks/types.js";
import { prefixScorer } from "./prefix-scorer.js";
import { createTokenizerFrom } from "./toy-tokenizer.js";

const tokenizer = createTokenizerFrom(["a", "b", "c", "d", " "]);
const rows: TaskRow[] = ["a", "b", "ccc", "dd"].map((context, row) => ({
  row,
  requests: [" a", " bb"].map((continuation) => ({ context, continuation })),
  gold: 0,
}));
const options = { name: "toy", maxTokens: 20 };

function memoryStore(): ScoreStore & { readonly scores: Map<string, LogLikelihoods> } {
  const scores = new Map<string, LogLikelihoods>();
  return {
    scores,
    get: (key) => scores.get(key),
    put: (key, logLikelihoods) => {
      scores.set(key, logLikelihoods);
      return Promise.resolve();
    },
  };
}

describe("scoreTask", () => {
  it("keeps each row as it is scored, and goes on from there to the same scores", async () => {
    const whole = await scoreTask(await prepareTask(rows, tokenizer, options), prefixScorer(5));
    const store = memoryStore();
    const controller = new AbortController();
    const stopped = scoreTask(await prepareTask(rows, tokenizer, { ...options, store }), prefixScorer(5), {
      store,
      signal: controller.signal,
      onProgress: ({ done }) => done === 2 && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
    expect(store.scores.size).toBe(2);

    const rest = await prepareTask(rows, tokenizer, { ...options, store });
    const scorer = prefixScorer(5);
    const seen: number[] = [];
    const resumed = await scoreTask(rest, scorer, { store, onProgress: ({ done }) => seen.push(done) });
    expect(resumed).toEqual(whole);
    expect(seen).toEqual([2, 3, 4]);
    // Two rows with " a" (2 tokens) and " bb" (3 tokens): after the context, after the blank, after b.
    expect(scorer.asked.positions).toBe(2 * 3);
  });

  it("has nothing to run when all rows are known, and knows no row whose text changed", async () => {
    const store = memoryStore();
    const first = await prepareTask(rows, tokenizer, { ...options, store });
    // ccc and " bb" without its last token.
    expect(first.longest).toBe(5);
    await scoreTask(first, prefixScorer(5), { store });
    expect((await prepareTask(rows, tokenizer, { ...options, store })).longest).toBe(0);
    const changed = rows.map((row) => ({
      ...row,
      requests: row.requests.map((request) => ({ ...request, context: `${request.context}d` })),
    }));
    const again = await prepareTask(changed, tokenizer, { ...options, store });
    expect(again.rows.filter(({ known }) => known !== undefined)).toHaveLength(0);
  });

  it("does not take a damaged store's word", async () => {
    const store = memoryStore();
    const { rows: prepared } = await prepareTask(rows, tokenizer, options);
    store.scores.set(prepared[0].key, [-1]);
    expect((await prepareTask(rows, tokenizer, { ...options, store })).rows[0].known).toBeUndefined();
  });
});
