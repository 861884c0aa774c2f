/**
 * A program before it has addresses: instructions over symbolic values. The lowering emits drafts, fusion rewrites them, the
 * scheduler orders them and gives the values their places, the encoder writes words.
 */

/** Activations of a tile (or tables made of them): one row a token. */
export interface Value {
  readonly id: number;
  /** Bytes of a row, a multiple of 4. */
  readonly rowBytes: number;
  /** Byte address of a value that has its own place, such as a KV cache. */
  readonly address?: number;
}

/** An operand word: an integer, a float, the address of a value, or the place of a value within its row. */
export type Operand = number | { readonly real: number } | Value;

export interface Draft {
  readonly op: number;
  /** By word index; absent words are 0. */
  readonly operands: Record<number, Operand>;
  reads: Value[];
  writes: Value[];
  /**
   * Reads what an earlier draft with the same split over threads wrote, so that no barrier is needed between the two: every
   * thread reads back only what it wrote itself.
   */
  readonly chained?: boolean;
  /** Scratch memory that each thread needs for it; 0 or absent: what its kind needs by its operands. */
  readonly scratchBytes?: number;
}

export function isValue(operand: Operand | undefined): operand is Value {
  return typeof operand === "object" && "id" in operand;
}

/** Floats of a row. */
export function strideOf(value: Value): number {
  return value.rowBytes / 4;
}

/** Puts `to` in the place of `from` in everything the draft reads. */
export function replaceRead(draft: Draft, from: Value, to: Value): void {
  draft.reads = draft.reads.map((value) => (value === from ? to : value));
  for (const [index, operand] of Object.entries(draft.operands)) {
    if (operand === from) draft.operands[Number(index)] = to;
  }
}
