/** The best rank-1 approximation of the magnitudes of a matrix. */

/** |M| is close to rank 1 and positive, so each step gains two digits or so; stops when nothing moves. */
const MAX_STEPS = 100;
const TOLERANCE = 1e-9;

export interface RankOne {
  /** [rows], not negative. */
  readonly left: Float64Array;
  /** [cols], not negative, carries the size. */
  readonly right: Float64Array;
}

export interface RankOneOptions {
  /** [cols], positive. @default all ones */
  readonly start?: Float64Array;
  /** @default until nothing moves, at most 100 */
  readonly steps?: number;
}

/**
 * left right^T nearest to |matrix| [rows, cols] in the Frobenius norm, by power iteration (which is alternating least
 * squares, up to the sizes of the two); left has unit norm.
 */
export function rankOneOfMagnitudes(
  matrix: Float32Array,
  rows: number,
  cols: number,
  { start, steps = MAX_STEPS }: RankOneOptions = {},
): RankOne {
  let right = start?.slice() ?? new Float64Array(cols).fill(1);
  let left = new Float64Array(rows);
  let before = 0;
  for (let step = 0; step < steps; step++) {
    left = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let col = 0; col < cols; col++) sum += Math.abs(matrix[row * cols + col]) * right[col];
      left[row] = sum;
    }
    const size = norm(left);
    if (size === 0) return { left, right: right.fill(0) };
    left = left.map((value) => value / size);
    right = new Float64Array(cols);
    for (let row = 0; row < rows; row++) {
      const factor = left[row];
      for (let col = 0; col < cols; col++) right[col] += factor * Math.abs(matrix[row * cols + col]);
    }
    const reached = norm(right);
    if (reached - before <= TOLERANCE * reached) break;
    before = reached;
  }
  return { left, right };
}

function norm(vector: Float64Array): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
}
