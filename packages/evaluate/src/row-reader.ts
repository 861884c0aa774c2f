/** Reads a scorer's tiles row by row, so that two scorers with different tile sizes can be read side by side. */
import { SubbitError } from "@subbit/core";
import type { LogitTile, Scorer } from "./scorer.js";

export class RowReader {
  readonly #scorer: Scorer;
  readonly #tiles: AsyncIterator<LogitTile>;
  #tile: LogitTile | undefined;
  #next = 0;

  /** @param from first position that is read */
  constructor(scorer: Scorer, ids: Int32Array, signal?: AbortSignal, from = 0) {
    this.#scorer = scorer;
    this.#tiles = scorer.tiles(ids, signal, from)[Symbol.asyncIterator]();
  }

  /** [vocab] of the next position; valid until the next call. */
  async next(): Promise<Float32Array> {
    while (this.#tile === undefined || this.#next >= this.#tile.count) {
      const step: IteratorResult<LogitTile, unknown> = await this.#tiles.next();
      if (step.done === true)
        throw new SubbitError(
          "internal",
          `${this.#scorer.name} gave logits for fewer positions than it was asked for.`,
        );
      this.#tile = step.value;
      this.#next = 0;
    }
    const { vocabSize } = this.#scorer;
    const row = this.#tile.logits.subarray(this.#next * vocabSize, (this.#next + 1) * vocabSize);
    this.#next++;
    return row;
  }

  /** Lets the scorer finish; call it once, also after a failure. */
  async close(): Promise<void> {
    await this.#tiles.return?.();
  }
}
