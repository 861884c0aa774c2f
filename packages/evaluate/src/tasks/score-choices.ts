/**
 * Log-likelihoods of the choices of one row. What choices share is run once: the choices are taken in the order of their ids,
 * each is run from where it parts from those before it (the scorer keeps what came before that), and the logits at a position
 * serve every choice that goes through it.
 */
import { inputError, throwIfAborted } from "@subbit/core";
import { logSumExp } from "../distribution.js";
import { RowReader } from "../row-reader.js";
import type { Scorer } from "../scorer.js";
import type { EncodedChoice } from "./encode-rows.js";

/** Sums of the continuation tokens' log-probabilities in nats, in the order of `choices`. Throws `input` where one is not finite. */
export async function scoreChoices(
  choices: readonly EncodedChoice[],
  scorer: Scorer,
  signal?: AbortSignal,
): Promise<number[]> {
  const pending = choices
    .map(({ ids, contextTokens }) => ({
      ids,
      // The token at position p is told by the logits at p - 1.
      first: contextTokens - 1,
      logProbabilities: new Float64Array(ids.length - contextTokens).fill(NaN),
    }))
    .sort((a, b) => compareIds(a.ids, b.ids));
  const results = new Map(pending.map((one) => [one.ids, one.logProbabilities]));
  for (const [i, one] of pending.entries()) {
    const missing = one.logProbabilities.findIndex(Number.isNaN);
    if (missing < 0) continue;
    throwIfAborted(signal);
    // In order of ids, the further away the shorter what is shared.
    const shared: number[] = [];
    for (let j = i, common = Infinity; j < pending.length && common > 0; j++) {
      common = Math.min(common, commonPrefix(one.ids, pending[j].ids));
      shared.push(common);
    }
    const begin = one.first + missing;
    const reader = new RowReader(scorer, one.ids.subarray(0, -1), signal, begin);
    try {
      for (let t = begin; t + 1 < one.ids.length; t++) {
        const logits = await reader.next();
        const norm = logSumExp(logits);
        for (let k = 0; k < shared.length && shared[k] > t; k++) {
          const { ids, first, logProbabilities } = pending[i + k];
          if (t >= first && t + 1 < ids.length) {
            logProbabilities[t - first] = logitOf(logits, ids[t + 1], scorer) - norm;
          }
        }
      }
    } finally {
      await reader.close();
    }
  }
  return choices.map(({ ids }) => finiteSum(results.get(ids)!, scorer));
}

function compareIds(a: Int32Array, b: Int32Array): number {
  const common = commonPrefix(a, b);
  if (common === a.length || common === b.length) return a.length - b.length;
  return a[common] - b[common];
}

function commonPrefix(a: Int32Array, b: Int32Array): number {
  const length = Math.min(a.length, b.length);
  let same = 0;
  while (same < length && a[same] === b[same]) same++;
  return same;
}

function logitOf(logits: Float32Array, id: number, scorer: Scorer): number {
  if (id >= 0 && id < logits.length) return logits[id];
  throw inputError(
    `The text holds token ${id}, but ${scorer.name} has a vocabulary of ${logits.length}; use the model's own tokenizer.`,
  );
}

function finiteSum(values: Float64Array, scorer: Scorer): number {
  const sum = values.reduce((total, value) => total + value, 0);
  if (Number.isFinite(sum)) return sum;
  throw inputError(
    `${scorer.name} gives a log-likelihood of ${sum}; its weights hold NaN or infinite values, make the model again.`,
  );
}
