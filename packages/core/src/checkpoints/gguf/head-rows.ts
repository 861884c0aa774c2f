/**
 * The order of query and key rows. llama.cpp rotates neighbouring pairs, Hugging Face the two halves of a head, so
 * llama.cpp's converter stores Hugging Face row (head, half, i) as row (head, i, half). This is the way back.
 */
import type { RowRange } from "../types.js";

/** The stored row of a Hugging Face row; `headDim` is even. */
export function storedRow(row: number, headDim: number): number {
  const within = row % headDim;
  const half = within < headDim / 2 ? 0 : 1;
  const i = within - half * (headDim / 2);
  return row - within + 2 * i + half;
}

/** The stored rows to read for a range of Hugging Face rows: those of every head it touches. */
export function coveringHeads(rows: RowRange, headDim: number): RowRange {
  return { begin: Math.floor(rows.begin / headDim) * headDim, end: Math.ceil(rows.end / headDim) * headDim };
}

/** Values [rows, columns] in Hugging Face order, from the stored values of the covering heads. */
export function reorderRows(
  stored: Float32Array,
  rows: RowRange,
  headDim: number,
  columns: number,
): Float32Array {
  const { begin } = coveringHeads(rows, headDim);
  const out = new Float32Array((rows.end - rows.begin) * columns);
  for (let row = rows.begin; row < rows.end; row++) {
    const from = (storedRow(row, headDim) - begin) * columns;
    out.set(stored.subarray(from, from + columns), (row - rows.begin) * columns);
  }
  return out;
}
