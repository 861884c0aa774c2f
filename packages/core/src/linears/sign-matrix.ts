/**
 * Matrices of signs, one bit each: making, reading and transposing them.
 * sgn(0) = +1 throughout, so that a zero latent has a sign and every reader agrees on it.
 */
import type { SignMatrix } from "./types.js";

/** 32-bit words that hold one row of `cols` signs. */
export function wordsPerRow(cols: number): number {
  return Math.ceil(cols / 32);
}

/** All +1. */
export function createSignMatrix(rows: number, cols: number): SignMatrix {
  return { rows, cols, words: new Uint32Array(rows * wordsPerRow(cols)) };
}

/** Signs of `values` [rows, cols]; negative is -1, anything else (0, -0, NaN) is +1. */
export function packSigns(values: ArrayLike<number>, rows: number, cols: number): SignMatrix {
  const matrix = createSignMatrix(rows, cols);
  const stride = wordsPerRow(cols);
  for (let row = 0; row < rows; row++) {
    const from = row * cols;
    const to = row * stride;
    for (let col = 0; col < cols; col++) {
      if (values[from + col] < 0) matrix.words[to + (col >>> 5)] |= 1 << (col & 31);
    }
  }
  return matrix;
}

/** [rows, cols] of +1 and -1. */
export function unpackSigns(matrix: SignMatrix): Float32Array {
  const { rows, cols, words } = matrix;
  const stride = wordsPerRow(cols);
  const values = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const bit = (words[row * stride + (col >>> 5)] >>> (col & 31)) & 1;
      values[row * cols + col] = 1 - 2 * bit;
    }
  }
  return values;
}

/** +1 or -1. */
export function signAt(matrix: SignMatrix, row: number, col: number): number {
  const word = matrix.words[row * wordsPerRow(matrix.cols) + (col >>> 5)];
  return 1 - 2 * ((word >>> (col & 31)) & 1);
}

/** A copy with rows and columns exchanged, in blocks of 32 x 32 bits. */
export function transposeSigns(matrix: SignMatrix): SignMatrix {
  const { rows, cols, words } = matrix;
  const stride = wordsPerRow(cols);
  const result = createSignMatrix(cols, rows);
  const resultStride = wordsPerRow(rows);
  const block = new Uint32Array(32);
  for (let rowBlock = 0; rowBlock < resultStride; rowBlock++) {
    const blockRows = Math.min(32, rows - rowBlock * 32);
    for (let colBlock = 0; colBlock < stride; colBlock++) {
      block.fill(0);
      for (let i = 0; i < blockRows; i++) block[i] = words[(rowBlock * 32 + i) * stride + colBlock]!;
      transposeBlock(block);
      const blockCols = Math.min(32, cols - colBlock * 32);
      for (let j = 0; j < blockCols; j++) {
        result.words[(colBlock * 32 + j) * resultStride + rowBlock] = block[j]!;
      }
    }
  }
  return result;
}

/** Transposes 32 x 32 bits in place by exchanging ever smaller off-diagonal quadrants. */
function transposeBlock(block: Uint32Array): void {
  let mask = 0x0000ffff;
  for (let size = 16; size !== 0; size >>>= 1) {
    for (let row = 0; row < 32; row = (row + size + 1) & ~size) {
      const exchanged = ((block[row] >>> size) ^ block[row + size]) & mask;
      block[row] ^= exchanged << size;
      block[row + size] ^= exchanged;
    }
    mask ^= mask << (size >>> 1);
  }
}

/** Whether every padding bit is +1, as the format asks; a file where one is not was damaged. */
export function paddingIsClear(matrix: SignMatrix): boolean {
  const used = matrix.cols & 31;
  if (used === 0) return true;
  const padding = ~((1 << used) - 1);
  const stride = wordsPerRow(matrix.cols);
  for (let row = 1; row <= matrix.rows; row++) {
    if ((matrix.words[row * stride - 1] & padding) !== 0) return false;
  }
  return true;
}

/** Flips whole rows and columns in place: `rowFlips` [rows] and `colFlips` [cols], true where the sign changes. */
export function flipSigns(
  matrix: SignMatrix,
  flips: { rowFlips?: readonly boolean[]; colFlips?: readonly boolean[] },
): void {
  const { rows, cols, words } = matrix;
  const stride = wordsPerRow(cols);
  const colMask = createSignMatrix(1, cols).words;
  flips.colFlips?.forEach((flip, col) => {
    if (flip) colMask[col >>> 5] |= 1 << (col & 31);
  });
  const allMask = new Uint32Array(stride).fill(0xffffffff);
  const used = cols & 31;
  if (used !== 0) allMask[stride - 1] = (1 << used) - 1;
  for (let row = 0; row < rows; row++) {
    const flipRow = flips.rowFlips?.[row] ?? false;
    for (let word = 0; word < stride; word++) {
      words[row * stride + word] ^= colMask[word] ^ (flipRow ? allMask[word] : 0);
    }
  }
}
