/**
 * OneBit linears (arXiv 2402.11295, section 3.1): signs of every weight between two scale vectors, and behind them a
 * LayerNorm without weights. The norm makes the overall size of h irrelevant (but for eps) and the layer no matrix.
 */
import { SubbitError } from "../errors.js";
import { flipSigns, signAt } from "./sign-matrix.js";
import { sizeLog2 } from "./vector-size.js";
import { ONEBIT_EPS, type OneBitLinear } from "./types.js";

/** S o h g^T, [rows, cols]: what the layer multiplies with before its norm; bias left out. */
export function oneBitMatrix(linear: OneBitLinear): Float32Array {
  const { rows, cols, signs, outScales, inScales } = linear;
  const matrix = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      matrix[row * cols + col] = signAt(signs, row, col) * outScales[row] * inScales[col];
    }
  }
  return matrix;
}

/** y = LayerNorm(h o S (g o x)) + bias for one vector. The slow twin of the fast kernels. */
export function oneBitForward(linear: OneBitLinear, x: Float32Array): Float32Array {
  const { rows, cols, signs, outScales, inScales, bias } = linear;
  if (x.length !== cols)
    throw new SubbitError("internal", `A vector of ${x.length} met a linear of ${cols} columns.`);
  const y = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let col = 0; col < cols; col++) sum += signAt(signs, row, col) * inScales[col] * x[col];
    y[row] = outScales[row] * sum;
  }
  normaliseOutputs(y);
  return Float32Array.from(y, (value, row) => value + (bias?.[row] ?? 0));
}

/** The LayerNorm of a OneBit linear over the outputs of one token, in place. */
export function normaliseOutputs(outputs: Float64Array): void {
  let mean = 0;
  for (const value of outputs) mean += value;
  mean /= outputs.length;
  let square = 0;
  for (const value of outputs) square += (value - mean) ** 2;
  const inverse = 1 / Math.sqrt(square / outputs.length + ONEBIT_EPS);
  for (let i = 0; i < outputs.length; i++) outputs[i] = (outputs[i] - mean) * inverse;
}

/**
 * The same linear with every scale at least 0. A negative scale of a row (or column) and that row (or column) of S with
 * its signs flipped give the same products, in front of the norm, so nothing changes.
 */
export function canonicaliseOneBit(linear: OneBitLinear): OneBitLinear {
  const { outScales, inScales } = linear;
  const signs = { ...linear.signs, words: linear.signs.words.slice() };
  const negative = (scales: Float32Array): boolean[] => Array.from(scales, (scale) => scale < 0);
  flipSigns(signs, { rowFlips: negative(outScales), colFlips: negative(inScales) });
  return { ...linear, signs, outScales: outScales.map(Math.abs), inScales: inScales.map(Math.abs) };
}

/**
 * The same linear with h and g of nearly the same size: a power of two moves from one to the other, so their product,
 * and with it the share of eps in the norm, stays what it was. Zeros come back as they are.
 */
export function balanceOneBit(linear: OneBitLinear): OneBitLinear {
  const outSize = sizeLog2(linear.outScales);
  const inSize = sizeLog2(linear.inScales);
  if (!Number.isFinite(outSize) || !Number.isFinite(inSize)) return linear;
  // Whole parts are compared, so that what was balanced once has nothing left to move.
  const shift = Math.trunc((Math.floor(outSize) - Math.floor(inSize)) / 2);
  return {
    ...linear,
    outScales: linear.outScales.map((scale) => scale * 2 ** -shift),
    inScales: linear.inScales.map((scale) => scale * 2 ** shift),
  };
}
