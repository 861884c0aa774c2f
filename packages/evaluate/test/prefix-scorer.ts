/** A scorer whose logits depend on every token before, and that counts how many positions it was asked for. */
import type { LogitTile, Scorer } from "../src/scorer.js";

export interface CountingScorer extends Scorer {
  readonly asked: { positions: number };
  /** Logits after `ids`, as `tiles` gives them for the last position. */
  logitsAfter(ids: readonly number[]): Float32Array;
}

export function prefixScorer(vocabSize: number, tile = 3): CountingScorer {
  const asked = { positions: 0 };
  const logitsAfter = (ids: readonly number[]): Float32Array => {
    let state = 17;
    for (const id of ids) state = (Math.imul(state, 31) + id + 1) >>> 0;
    return Float32Array.from({ length: vocabSize }, (_, i) => 4 * Math.sin(state * (i + 1)));
  };
  return {
    name: "prefix",
    vocabSize,
    asked,
    logitsAfter,
    async *tiles(ids, _signal, from = 0): AsyncGenerator<LogitTile> {
      for (let begin = from; begin < ids.length; begin += tile) {
        const count = Math.min(tile, ids.length - begin);
        const logits = new Float32Array(count * vocabSize);
        for (let t = 0; t < count; t++) {
          logits.set(logitsAfter([...ids.subarray(0, begin + t + 1)]), t * vocabSize);
        }
        asked.positions += count;
        yield { count, logits };
      }
    },
  };
}
