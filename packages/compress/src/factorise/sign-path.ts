/**
 * One path as a search finds it, on the folded matrix: signs inside latents, and magnitude envelopes
 * `W ~ [S_out o (A Q^T)] [S_in o (B G^T)]^T` with both factors upright. For l = 1 the middle scales Q and G are one
 * vector c, which stands with the inputs.
 */
import type { AdmmShape } from "./admm-program.js";

export interface SignPath {
  /** [rows, rank]; their signs are the path's. */
  readonly outLatents: Float32Array;
  /** [cols, rank], upright. */
  readonly inLatents: Float32Array;
  /** l @default 1 */
  readonly envelope?: number;
  /** A transposed, [l, rows] */
  readonly outScales: Float32Array;
  /** B transposed, [l, cols] */
  readonly inScales: Float32Array;
  /** G transposed, [l, rank]; for l = 1 the middle scale c; absent means ones. */
  readonly midScales?: Float32Array;
  /** Q transposed, [l, rank]; absent means ones (always absent for l = 1). */
  readonly midOutScales?: Float32Array;
}

/** [rows, rank], S_out o (A Q^T). */
export function leftFactor(path: SignPath): Float32Array {
  const { envelope = 1, outLatents, outScales, midOutScales } = path;
  return signedEnvelope(outLatents, envelope, outScales, midOutScales);
}

/** [cols, rank], S_in o (B G^T). */
export function rightFactor(path: SignPath): Float32Array {
  const { envelope = 1, inLatents, inScales, midScales } = path;
  return signedEnvelope(inLatents, envelope, inScales, midScales);
}

/** sgn(latents) o sum_j scales_j mid_j^T, [length, rank]; `scales` [l, length], `mid` [l, rank] or ones. */
export function signedEnvelope(
  latents: Float32Array,
  envelope: number,
  scales: Float32Array,
  mid?: Float32Array,
): Float32Array {
  const length = scales.length / envelope;
  const rank = latents.length / length;
  const values = new Float32Array(latents.length);
  for (let row = 0; row < length; row++) {
    const from = row * rank;
    for (let j = 0; j < envelope; j++) {
      const scale = scales[j * length + row];
      for (let k = 0; k < rank; k++) values[from + k] += mid ? scale * mid[j * rank + k] : scale;
    }
    for (let k = 0; k < rank; k++) if (latents[from + k] < 0) values[from + k] = -values[from + k];
  }
  return values;
}

/** The path of the transposed matrix. */
export function transposePath(path: SignPath): SignPath {
  const { outLatents, inLatents, outScales, inScales, midScales, midOutScales, ...rest } = path;
  const swapped = { outLatents: inLatents, inLatents: outLatents, outScales: inScales, inScales: outScales };
  if ((path.envelope ?? 1) === 1) return { ...rest, ...swapped, ...(midScales && { midScales }) };
  return {
    ...rest,
    ...swapped,
    ...(midOutScales && { midScales: midOutScales }),
    ...(midScales && { midOutScales: midScales }),
  };
}

/** A path that computes zero. */
export function zeroPath({ rows, cols, rank }: AdmmShape, midScale: boolean, envelope = 1): SignPath {
  return {
    outLatents: new Float32Array(rows * rank),
    inLatents: new Float32Array(cols * rank),
    envelope,
    outScales: new Float32Array(envelope * rows),
    inScales: new Float32Array(envelope * cols),
    ...(midScale && { midScales: new Float32Array(envelope * rank) }),
    ...(midScale && envelope > 1 && { midOutScales: new Float32Array(envelope * rank) }),
  };
}

/** [rows, cols] -> [cols, rows] */
export function transposed(values: Float32Array, rows: number, cols: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(top + TILE, rows);
    for (let left = 0; left < cols; left += TILE) {
      const right = Math.min(left + TILE, cols);
      for (let row = top; row < bottom; row++) {
        for (let col = left; col < right; col++) result[col * rows + row] = values[row * cols + col]!;
      }
    }
  }
  return result;
}

/** Side of the squares in which a matrix is turned: both of a square's sides stay in the cache. */
const TILE = 64;
