/** Signs as other programs store them, to and from sign matrices: bit orders, sign conventions and row padding. */
import { createSignMatrix, wordsPerRow } from "../linears/sign-matrix.js";
import type { SignMatrix } from "../linears/types.js";
import { asBytes, bytesAsU32 } from "../tensors/bytes.js";

/**
 * Eight signs a byte, the row-major matrix without row padding, most significant bit first, a set bit = +1 (DBF, MDBF).
 * Bits beyond the last sign are ignored.
 */
export function signsFromFlatBytes(bytes: Uint8Array, rows: number, cols: number): SignMatrix {
  const matrix = createSignMatrix(rows, cols);
  const stride = wordsPerRow(cols);
  for (let row = 0, bit = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, bit++) {
      const positive = (bytes[bit >>> 3] >>> (7 - (bit & 7))) & 1;
      if (positive === 0) matrix.words[row * stride + (col >>> 5)] |= 1 << (col & 31);
    }
  }
  return matrix;
}

/** The inverse of `signsFromFlatBytes`, [ceil(rows * cols / 8)]; bits beyond the last sign are set, as MDBF has them. */
export function flatBytesFromSigns({ rows, cols, words }: SignMatrix): Uint8Array {
  const bytes = new Uint8Array(flatBytes(rows, cols)).fill(0xff);
  const stride = wordsPerRow(cols);
  for (let row = 0, bit = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, bit++) {
      const negative = (words[row * stride + (col >>> 5)] >>> (col & 31)) & 1;
      if (negative === 1) bytes[bit >>> 3] &= ~(1 << (7 - (bit & 7)));
    }
  }
  return bytes;
}

/** Bytes of `rows * cols` signs without row padding. */
export function flatBytes(rows: number, cols: number): number {
  return Math.ceil((rows * cols) / 8);
}

/** Eight signs a byte, each row in whole bytes, least significant bit first, a clear bit = +1 (OneBit); cols % 8 = 0. */
export function signsFromRowBytes(bytes: Uint8Array, rows: number, cols: number): SignMatrix {
  const matrix = createSignMatrix(rows, cols);
  const rowBytes = cols / 8;
  // Our words in the order of their bytes are the same bits, but for the padding of rows.
  const to = asBytes(matrix.words);
  const toBytes = 4 * wordsPerRow(cols);
  for (let row = 0; row < rows; row++)
    to.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), row * toBytes);
  return matrix;
}

/** The inverse of `signsFromRowBytes`, [rows * cols / 8]. */
export function rowBytesFromSigns({ rows, cols, words }: SignMatrix): Uint8Array {
  const rowBytes = cols / 8;
  const bytes = new Uint8Array(rows * rowBytes);
  const from = asBytes(words);
  const fromBytes = 4 * wordsPerRow(cols);
  for (let row = 0; row < rows; row++)
    bytes.set(from.subarray(row * fromBytes, row * fromBytes + rowBytes), row * rowBytes);
  return bytes;
}

/** 32 signs a word, each row in whole words, least significant bit first, a clear bit = +1 (LittleBit, NanoQuant): ours. */
export function signsFromWords(bytes: Uint8Array, rows: number, cols: number): SignMatrix {
  return { rows, cols, words: bytesAsU32(bytes) };
}

/** The inverse of `signsFromWords`. */
export function wordsFromSigns({ words }: SignMatrix): Uint8Array {
  return asBytes(words);
}
