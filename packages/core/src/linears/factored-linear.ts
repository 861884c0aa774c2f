/**
 * Factored linears: the dense matrix they stand for, their product with a vector in the plain order of the formula,
 * and the gauge: scales can be moved between the vectors of a path without changing what it computes.
 */
import { SubbitError } from "../errors.js";
import { flipSigns, signAt, unpackSigns } from "./sign-matrix.js";
import { sizeLog2 } from "./vector-size.js";
import type { FactoredLinear, FactoredPath } from "./types.js";

/** The dense matrix [rows, cols] of one path or of the sum of paths; bias left out. Sums run in double precision. */
export function reconstruct(linear: FactoredLinear): Float32Array {
  return reconstructRows(
    linear,
    Array.from({ length: linear.rows }, (_, row) => row),
  );
}

/** Some rows of the dense matrix, [wanted.length, cols], to the same bits as `reconstruct` gives them. */
export function reconstructRows(linear: FactoredLinear, wanted: readonly number[]): Float32Array {
  const { rows, cols, paths } = linear;
  const into = paths.map(({ inSigns, midIn, inScales, rank }) =>
    envelopeTimesSigns(unpackSigns(inSigns), midIn, inScales, rank, cols),
  );
  const values = new Float32Array(wanted.length * cols);
  const sum = new Float64Array(cols);
  wanted.forEach((row, i) => {
    if (!(row >= 0 && row < rows)) {
      throw new SubbitError("internal", `Row ${row} was asked of a matrix of ${rows} rows.`);
    }
    sum.fill(0);
    paths.forEach((path, p) => addRow(sum, path, row, into[p], rows));
    values.set(sum, i * cols);
  });
  return values;
}

/** Adds one row of one path to `sum` [cols]; `into` is its right factor, [rank, cols]. */
function addRow(sum: Float64Array, path: FactoredPath, row: number, into: Float64Array, rows: number): void {
  const { rank, envelope, outScales, midOut } = path;
  for (let k = 0; k < rank; k++) {
    let magnitude = 0;
    for (let i = 0; i < envelope; i++) {
      magnitude += outScales[i * rows + row] * (midOut?.[i * rank + k] ?? 1);
    }
    const factor = magnitude * signAt(path.outSigns, row, k);
    const from = k * sum.length;
    for (let col = 0; col < sum.length; col++) sum[col] += factor * into[from + col];
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
      result[row * cols + col] = magnitude * signs[row * cols + col];
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
          sum += signAt(path.inSigns, k, col) * path.inScales[j * cols + col] * x[col];
        t[k] += sum * (path.midIn?.[j * rank + k] ?? 1);
      }
    }
    for (let i = 0; i < envelope; i++) {
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let k = 0; k < rank; k++)
          sum += signAt(path.outSigns, row, k) * (path.midOut?.[i * rank + k] ?? 1) * t[k];
        y[row] += sum * path.outScales[i * rows + row];
      }
    }
  }
  return Float32Array.from(y, (value, row) => value + (linear.bias?.[row] ?? 0));
}

/**
 * The same path with the sizes of its scale vectors evened out, so that none under- or overflows in 16 bits.
 * Only powers of two move between the vectors, so the result computes exactly the same matrix, and doing it again
 * changes nothing. A path with a vector of zeros comes back as it is.
 */
export function balanceScales(path: FactoredPath): FactoredPath {
  return path.envelope === 1 ? balanceVectors(path) : balanceEnvelopes(path);
}

/** l = 1: one product of three vectors (two without a middle scale), each brought near their geometric mean. */
function balanceVectors(path: FactoredPath): FactoredPath {
  const { outScales, midIn, inScales } = path;
  const sizes = [outScales, ...(midIn ? [midIn] : []), inScales].map(sizeLog2);
  if (!sizes.every(Number.isFinite)) return path;
  const target = Math.floor(sizes.reduce((sum, size) => sum + size, 0) / sizes.length);
  const midShift = midIn ? target - Math.floor(sizeLog2(midIn)) : 0;
  const inShift = target - Math.floor(sizeLog2(inScales));
  return {
    ...path,
    outScales: shifted(outScales, [-midShift - inShift]),
    inScales: shifted(inScales, [inShift]),
    ...(midIn && { midIn: shifted(midIn, [midShift]) }),
  };
}

/** l > 1: each rank-1 term of an envelope is evened out within itself, after the two envelopes among each other. */
function balanceEnvelopes(path: FactoredPath): FactoredPath {
  const { outScales, midOut, midIn, inScales, envelope } = path;
  const sizesOf = (vectors: Float32Array | undefined): number[] => {
    const length = (vectors?.length ?? 0) / envelope;
    return Array.from({ length: envelope }, (_, j) =>
      vectors ? sizeLog2(vectors.subarray(j * length, (j + 1) * length)) : 0,
    );
  };
  const sizes = {
    out: sizesOf(outScales),
    midOut: sizesOf(midOut),
    midIn: sizesOf(midIn),
    in: sizesOf(inScales),
  };
  if (!Object.values(sizes).flat().every(Number.isFinite)) return path;
  const mean = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, size, j) => sum + size + b[j], 0) / envelope;
  const outSize = mean(sizes.out, sizes.midOut);
  const across = Math.floor((outSize + mean(sizes.in, sizes.midIn)) / 2) - Math.floor(outSize);
  /** What a middle vector takes so that it meets half of its term's size, `total` being moved into the term. */
  const within = (outer: readonly number[], middle: readonly number[], total: number): number[] =>
    outer.map((size, j) => Math.floor((size + middle[j] + total) / 2) - Math.floor(middle[j]));
  const outShifts = midOut ? within(sizes.out, sizes.midOut, across) : new Array<number>(envelope).fill(0);
  const inShifts = midIn ? within(sizes.in, sizes.midIn, -across) : new Array<number>(envelope).fill(0);
  return {
    ...path,
    outScales: shifted(
      outScales,
      outShifts.map((shift) => across - shift),
    ),
    inScales: shifted(
      inScales,
      inShifts.map((shift) => -across - shift),
    ),
    ...(midOut && { midOut: shifted(midOut, outShifts) }),
    ...(midIn && { midIn: shifted(midIn, inShifts) }),
  };
}

/** The j-th of the vectors that lie one after the other, times 2^shifts[j]. */
function shifted(vectors: Float32Array, shifts: readonly number[]): Float32Array {
  const length = vectors.length / shifts.length;
  return vectors.map((value, i) => value * 2 ** shifts[Math.floor(i / length)]);
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
