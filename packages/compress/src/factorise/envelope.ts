/** Magnitude envelopes of rank l: with the signs fixed, the truncated SVD of the magnitudes is the best (MDBF, theorem 4.2). */
import type { Programs } from "./programs.js";
import { rankOneOfMagnitudes } from "./rank-one.js";
import { transposed } from "./sign-path.js";
import { truncatedSvd } from "./svd.js";

/** left right^T, the size shared evenly. */
export interface Magnitudes {
  /** [length, l] */
  readonly left: Float32Array;
  /** [rank, l] */
  readonly right: Float32Array;
}

/** The best envelope of rank l of |latents| [length, rank]; columns beyond what the matrix has are zero. */
export async function magnitudesOf(
  latents: Float32Array,
  [length, rank]: readonly [number, number],
  envelope: number,
  programs: Programs,
): Promise<Magnitudes> {
  if (envelope === 1) {
    const { left, right } = rankOneOfMagnitudes(latents, length, rank);
    const size = Math.sqrt(Math.hypot(...right)) || 1;
    return {
      left: Float32Array.from(left, (value) => value * size),
      right: Float32Array.from(right, (value) => value / size),
    };
  }
  const kept = Math.min(envelope, length, rank);
  const shape = { rows: length, cols: rank, rank: kept };
  const { values, left, right } = await truncatedSvd(latents.map(Math.abs), shape, programs, 0);
  const flips = Array.from({ length: kept }, (_, j) => (columnSum(left, kept, j) < 0 ? -1 : 1));
  const widened = (factor: Float32Array, count: number): Float32Array => {
    const wide = new Float32Array(count * envelope);
    factor.forEach((value, at) => {
      const j = at % kept;
      wide[Math.floor(at / kept) * envelope + j] = value * Math.sqrt(values[j]) * flips[j];
    });
    return wide;
  };
  return { left: widened(left, length), right: widened(right, rank) };
}

/** As paths hold them: [l, length] and [l, rank]. */
export function asScales(
  { left, right }: Magnitudes,
  envelope: number,
): { outer: Float32Array; middle: Float32Array } {
  return {
    outer: transposed(left, left.length / envelope, envelope),
    middle: transposed(right, right.length / envelope, envelope),
  };
}

function columnSum(matrix: Float32Array, cols: number, col: number): number {
  let sum = 0;
  for (let at = col; at < matrix.length; at += cols) sum += matrix[at];
  return sum;
}
