/**
 * Diagonal importance folded into a matrix. With D_o, D_i the square roots of the moments, the weighted error of W is the
 * plain error of D_o W D_i, and signs with rank-1 envelopes are closed under row and column scaling: what is found for
 * the folded matrix folds out exactly.
 */
import { inputError } from "@subbit/core";
import type { Importance } from "./types.js";

/** NanoQuant's paper, section 5: .2 for Llama and Qwen. */
export const DEFAULT_SHRINKAGE = 0.2;
/** Smallest weight beside the mean one, so that scales fold out of 16 bits' reach for no input that never fires. */
const SMALLEST_WEIGHT = 1e-3;

/** Weights of rows and columns, mean 1 each. */
export interface Weights {
  /** [rows] */
  readonly rows: Float32Array;
  /** [cols] */
  readonly cols: Float32Array;
}

/** What is folded into a matrix before its factors are sought. */
export interface Folding {
  readonly weights: Weights;
  /** [cols, cols], the metric of the folded inputs, mean diagonal 1; absent: the identity. */
  readonly gram?: Float32Array;
}

/** Added to the diagonal of a folded Gram matrix: few calibration tokens leave directions that no input ever took. */
const GRAM_RIDGE = 1e-3;

/**
 * Weights and metric of an importance. Folding D_i into W leaves D_i^-1 E[x x^T] D_i^-1 as the metric of its columns, which
 * has a diagonal of ones (before shrinkage): the folding is also its preconditioner. Throws `input` on bad moments.
 */
export function foldingOf(importance: Importance | undefined, rows: number, cols: number): Folding {
  const gram = importance?.inputGram;
  if (!importance || !gram) return { weights: importanceWeights(importance, rows, cols) };
  checkGram(gram, cols);
  const input = importance.input ?? diagonalOf(gram, cols);
  const weights = importanceWeights({ ...importance, input }, rows, cols);
  const folded = Float32Array.from(
    gram,
    (value, at) => value / (weights.cols[Math.floor(at / cols)] * weights.cols[at % cols]),
  );
  const mean = diagonalOf(folded, cols).reduce((sum, value) => sum + value, 0) / cols;
  if (!(mean > 0)) return { weights };
  for (let at = 0; at < folded.length; at++) folded[at] /= mean;
  for (let i = 0; i < cols; i++) folded[i * cols + i] += GRAM_RIDGE;
  return { weights, gram: folded };
}

function diagonalOf(matrix: Float32Array, n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => matrix[i * n + i]);
}

function checkGram(gram: Float32Array, cols: number): void {
  if (gram.length !== cols * cols) {
    throw inputError(
      `The Gram matrix of the inputs has ${gram.length} entries for ${cols} inputs; give ${cols * cols}.`,
    );
  }
  const bad = gram.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw inputError(`The Gram matrix of the inputs holds ${gram[bad]} at ${bad}; give finite values.`);
}

/** Weights from moments: square roots, shrunk to their mean, floored, normalised. Throws `input` on bad moments. */
export function importanceWeights(importance: Importance | undefined, rows: number, cols: number): Weights {
  const shrinkage = importance?.shrinkage ?? DEFAULT_SHRINKAGE;
  if (!(shrinkage >= 0 && shrinkage <= 1)) {
    throw inputError(`The importance shrinkage is ${shrinkage}; give a number from 0 to 1.`);
  }
  return {
    rows: weightsOf(importance?.output, rows, "output", shrinkage),
    cols: weightsOf(importance?.input, cols, "input", shrinkage),
  };
}

function weightsOf(
  moments: Float32Array | undefined,
  length: number,
  side: "input" | "output",
  shrinkage: number,
): Float32Array {
  if (!moments) return new Float32Array(length).fill(1);
  if (moments.length !== length) {
    throw inputError(
      `The ${side} importance has ${moments.length} values for a matrix of ${length}; give one each.`,
    );
  }
  const bad = moments.findIndex((value) => !(value >= 0 && Number.isFinite(value)));
  if (bad >= 0) {
    throw inputError(
      `The ${side} importance holds ${moments[bad]} at ${bad}; second moments are finite and not negative.`,
    );
  }
  const roots = moments.map(Math.sqrt);
  const mean = roots.reduce((sum, value) => sum + value, 0) / length;
  if (!(mean > 0)) return roots.fill(1);
  return roots.map((root) => Math.max(SMALLEST_WEIGHT, (1 - shrinkage) * (root / mean) + shrinkage));
}

/** D_rows matrix D_cols, a new array. */
export function scaleMatrix(matrix: Float32Array, { rows, cols }: Weights): Float32Array {
  const scaled = new Float32Array(matrix.length);
  for (let row = 0; row < rows.length; row++) {
    const weight = rows[row];
    const from = row * cols.length;
    for (let col = 0; col < cols.length; col++) {
      scaled[from + col] = matrix[from + col] * weight * cols[col];
    }
  }
  return scaled;
}
