/** How models come in: whoever can give logits for token ids can be measured, whatever runs it. */

/** Logits of consecutive positions. */
export interface LogitTile {
  /** How many positions. */
  readonly count: number;
  /** [count, vocab]; valid until the next tile is asked for. */
  readonly logits: Float32Array;
}

export interface Scorer {
  /** What to call it in messages. */
  readonly name: string;
  readonly vocabSize: number;
  /**
   * Logits of every position of `ids` from `from` on, in order, in tiles of the scorer's choosing: position t sees ids 0..t and
   * nothing of an earlier call, though what an earlier call computed of the same beginning may be used again. Pulled, so that
   * two models advance together and no window's logits are held whole.
   *
   * @param from @default 0
   */
  tiles(ids: Int32Array, signal?: AbortSignal, from?: number): AsyncIterable<LogitTile>;
}
