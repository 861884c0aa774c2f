/**
 * Factored linears: the dense matrix they stand for, their product with a vector in the plain order of the formula,
 * and the gauge: scales can be moved between the vectors of a path without changing what it computes.
 */
import { SubbitError } from "../errors.js";
import { flipSigns, signAt, unpackSigns } from "./sign-matrix.js";
import type { FactoredLinear, FactoredPath } from "./types.js";

/** The dense matrix [rows, cols] of one path or of the sum of paths; bias left out. Sums run in double precision. */
export function reconstruct(linear: FactoredLinear): Float32Array {
  const { rows, cols } = linear;
  const sum = new Float64Array(rows * cols);
  for (const path of linear.paths) addPath(sum, path, rows, cols);
  return Float32Array.from(sum);
}

function addPath(sum: Float64Array, path: FactoredPath, rows: number, cols: number): void {
  const { rank } = path;
  const out = envelopeTimesSigns(unpackSigns(path.outSigns), path.outScales, path.midOut, rows, rank);
  const into = envelopeTimesSigns(unpackSigns(path.inSigns), path.midIn, path.inScales, rank, cols);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < rank; k++) {
      const factor = out[row * rank + k]!;
      const from = k * cols;
      const to = row * cols;
      for (let col = 0; col < cols; col++) sum[to + col]! += factor * into[from + col]!;
    }
  }
}

/** signs o sum_j left_j right_j^T, [rows, cols]; an absent vector is all ones. `left` [l, rows], `right` [l, cols]. */
function envelopeTimesSigns(
  signs: Float32Array,
  left: Float32Array | undefined,
  right: Float32Array | undefined,
  rows: number,
  cols: number,
): Float64Array {
  const envelope = left !== undefined ? left.length / rows : (right?.length ?? cols) / cols;
  const result = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      let magnitude = 0;
      for (let j = 0; j < envelope; j++) {
        magnitude += (left?.[j * rows + row] ?? 1) * (right?.[j * cols + col] ?? 1);
      }
      result[row * cols + col] = magnitude * signs[row * cols + col]!;
    }
  }
  return result;
}

/**
 * y = W x + bias for one vector, by 2l sign products a path:
 * `t = sum_j g_j o S_in (b_j o x)`, `y = sum_i a_i o S_out (q_i o t)`. The slow twin of the fast kernels.
 */
export function factoredForward(linear: FactoredLinear, x: Float32Array): Float32Array {
  const { rows, cols } = linear;
  if (x.length !== cols)
    throw new SubbitError("internal", `A vector of ${x.length} met a linear of ${cols} columns.`);
  const y = new Float64Array(rows);
  for (const path of linear.paths) {
    const { rank, envelope } = path;
    const t = new Float64Array(rank);
    for (let j = 0; j < envelope; j++) {
      for (let k = 0; k < rank; k++) {
        let sum = 0;
        for (let col = 0; col < cols; col++)
          sum += signAt(path.inSigns, k, col) * path.inScales[j * cols + col]! * x[col]!;
        t[k]! += sum * (path.midIn?.[j * rank + k] ?? 1);
      }
    }
    for (let i = 0; i < envelope; i++) {
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let k = 0; k < rank; k++)
          sum += signAt(path.outSigns, row, k) * (path.midOut?.[i * rank + k] ?? 1) * t[k]!;
        y[row]! += sum * path.outScales[i * rows + row]!;
      }
    }
  }
  return Float32Array.from(y, (value, row) => value + (linear.bias?.[row] ?? 0));
}

/**
 * The same path with the sizes of its scale vectors evened out, so that none under- or overflows in 16 bits.
 * Only powers of two move between the vectors, so the result computes exactly the same matrix.
 */
export function balanceScales(path: FactoredPath): FactoredPath {
  const outScales = path.outScales.slice();
  const inScales = path.inScales.slice();
  const midIn = path.midIn?.slice();
  const midOut = path.midOut?.slice();
  const { rank, envelope } = path;
  const rows = path.outSigns.rows;
  const cols = path.inSigns.cols;
  if (envelope === 1) {
    // One product of three vectors (two without a middle scale): bring each to their common geometric mean.
    const vectors = midIn === undefined ? [outScales, inScales] : [outScales, midIn, inScales];
    evenOut(midOut === undefined ? vectors : [...vectors, midOut]);
  } else {
    // Each rank-1 term of an envelope evens out within itself; the two factors then meet through their first vectors.
    for (let j = 0; j < envelope; j++) {
      if (midOut)
        evenOut([outScales.subarray(j * rows, (j + 1) * rows), midOut.subarray(j * rank, (j + 1) * rank)]);
      if (midIn)
        evenOut([inScales.subarray(j * cols, (j + 1) * cols), midIn.subarray(j * rank, (j + 1) * rank)]);
    }
    evenOut([outScales, inScales]);
    if (midOut && midIn) evenOut([midOut, midIn]);
  }
  return { ...path, outScales, inScales, ...(midIn && { midIn }), ...(midOut && { midOut }) };
}

/**
 * Multiplies each vector by a power of two, the product of all powers being 1, so that their mean sizes meet within a
 * factor of two (the first one takes the remainder). Doing it again changes nothing.
 */
function evenOut(vectors: readonly Float32Array[]): void {
  const sizes = vectors.map(meanSizeLog2);
  if (!sizes.every(Number.isFinite)) return;
  const target = Math.floor(sizes.reduce((sum, size) => sum + size, 0) / sizes.length);
  const shifts = sizes.map((size) => target - Math.floor(size));
  shifts[0] = -shifts.slice(1).reduce((sum, shift) => sum + shift, 0);
  vectors.forEach((vector, i) => {
    const factor = 2 ** shifts[i]!;
    for (let k = 0; k < vector.length; k++) vector[k]! *= factor;
  });
}

/** log2 of the root mean square; -Infinity for zeros. */
function meanSizeLog2(vector: Float32Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.log2(Math.sqrt(sum / vector.length));
}

/**
 * The same path in a canonical form, for l = 1: every scale at least 0 (their signs move into the sign matrices) and
 * the first column of S_in all +1 (the sign of rank-1 term k is free between S_out's column and S_in's row).
 * Two paths that compute the same by these symmetries compare equal afterwards. Envelopes of l > 1 keep their signs.
 */
export function canonicalisePath(path: FactoredPath): FactoredPath {
  if (path.envelope !== 1 || path.midOut !== undefined) return path;
  const outSigns = { ...path.outSigns, words: path.outSigns.words.slice() };
  const inSigns = { ...path.inSigns, words: path.inSigns.words.slice() };
  const negative = (scales: Float32Array | undefined) => Array.from(scales ?? [], (scale) => scale < 0);
  flipSigns(inSigns, { colFlips: negative(path.inScales) });
  flipSigns(outSigns, { rowFlips: negative(path.outScales), colFlips: negative(path.midIn) });
  const termFlips = Array.from({ length: path.rank }, (_, k) => signAt(inSigns, k, 0) < 0);
  flipSigns(inSigns, { rowFlips: termFlips });
  flipSigns(outSigns, { colFlips: termFlips });
  return {
    ...path,
    outSigns,
    inSigns,
    outScales: path.outScales.map(Math.abs),
    inScales: path.inScales.map(Math.abs),
    ...(path.midIn && { midIn: path.midIn.map(Math.abs) }),
  };
}
