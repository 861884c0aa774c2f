import { describe, expect, it } from "vitest";
import { logSumExp } from "../src/distribution.js";
import type { EncodedChoice } from "../src/tasks/encode-rows.js";
import { scoreChoices } from "../src/tasks/score-choices.js";
import { prefixScorer, type CountingScorer } from "./prefix-scorer.js";

/** f64 sums of a few terms of size 10. */
const SUMS = 1e-10;
const VOCAB = 7;

const choice = (context: readonly number[], continuation: readonly number[]): EncodedChoice => ({
  ids: Int32Array.from([...context, ...continuation]),
  contextTokens: context.length,
});

/** One choice at a time, one token at a time. */
function slowScore({ ids, contextTokens }: EncodedChoice, scorer: CountingScorer): number {
  let sum = 0;
  for (let t = contextTokens; t < ids.length; t++) {
    const logits = scorer.logitsAfter([...ids.subarray(0, t)]);
    sum += logits[ids[t]] - logSumExp(logits);
  }
  return sum;
}

function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("scoreChoices", () => {
  it("gives what scoring every choice alone gives, whatever they share", async () => {
    const seed = Date.now() >>> 0;
    const random = numbers(seed);
    for (let round = 0; round < 60; round++) {
      const ids = (most: number): number[] => Array.from({ length: 1 + random(most) }, () => random(2));
      const contexts = [ids(6), ids(6)];
      const choices = Array.from({ length: 2 + random(4) }, () => choice(contexts[random(2)], ids(5)));
      const scorer = prefixScorer(VOCAB, 1 + random(4));
      const scores = await scoreChoices(choices, scorer);
      choices.forEach((one, i) => {
        const want = slowScore(one, scorer);
        expect(Math.abs(scores[i] - want), `seed ${seed}, round ${round}`).toBeLessThan(SUMS);
      });
    }
  });

  it("asks for the context's last position once, and for no last token", async () => {
    const context = [1, 2, 3, 4];
    const single = prefixScorer(VOCAB);
    await scoreChoices([choice(context, [5]), choice(context, [6])], single);
    expect(single.asked.positions).toBe(1);
    const several = prefixScorer(VOCAB);
    // 4 -> 5 6 | 4 -> 5 1 | 4 -> 2: after the 4 once, after the shared 5 once.
    await scoreChoices([choice(context, [5, 6]), choice(context, [2]), choice(context, [5, 1])], several);
    expect(several.asked.positions).toBe(2);
  });

  it("scores equal choices and one that begins another", async () => {
    const scorer = prefixScorer(VOCAB);
    const choices = [choice([1], [2, 3]), choice([1], [2]), choice([1], [2, 3]), choice([1], [2, 3, 4])];
    const scores = await scoreChoices(choices, scorer);
    expect(scores[0]).toBe(scores[2]);
    choices.forEach((one, i) => expect(scores[i]).toBeCloseTo(slowScore(one, scorer), 12));
  });

  it("refuses tokens beyond the vocabulary and models that give no numbers", async () => {
    await expect(scoreChoices([choice([1], [9]), choice([1], [2])], prefixScorer(VOCAB))).rejects.toThrow(
      /token 9/,
    );
    const broken = { ...prefixScorer(2), vocabSize: 2 };
    broken.tiles = async function* (ids) {
      yield await Promise.resolve({ count: ids.length, logits: new Float32Array(ids.length * 2).fill(NaN) });
    };
    await expect(scoreChoices([choice([1], [0]), choice([1], [1])], broken)).rejects.toThrow(/NaN/);
  });
});
