/**
 * Pieces of remote files in memory, those asked for last; shared by all files of a model, so that its size is that of one. The
 * first that came goes first, read or not: were those read last kept, who reads in order would lose what was read ahead for it.
 */

export class PieceCache {
  readonly #limit: number;
  readonly #pieces = new Map<string, Promise<Uint8Array>>();

  /** @param limit pieces that are kept */
  constructor(limit: number) {
    this.#limit = limit;
  }

  has(key: string): boolean {
    return this.#pieces.has(key);
  }

  get(key: string): Promise<Uint8Array> | undefined {
    return this.#pieces.get(key);
  }

  /** Remembers a piece that is on its way; one that does not come is forgotten. */
  set(key: string, piece: Promise<Uint8Array>): void {
    piece.catch(() => {
      if (this.#pieces.get(key) === piece) this.#pieces.delete(key);
    });
    this.#pieces.set(key, piece);
    for (const oldest of this.#pieces.keys()) {
      if (this.#pieces.size <= this.#limit) break;
      this.#pieces.delete(oldest);
    }
  }
}
