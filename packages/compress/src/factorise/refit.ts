/**
 * Least-squares refits of the scales of one path, its signs standing: each of the three vectors has a closed form while
 * the other two stand. Under importance the matrix and the scales are folded, so the refit is the weighted one.
 */
import type { Program } from "@subbit/engine";
import type { RawPath } from "./admm.js";
import { conjugateGradients } from "./conjugate-gradients.js";

/** Rounds over all vectors; ADMM ends so near the optimum that the second one changes the sixth digit. */
const ROUNDS = 2;
/** Conjugate gradients on the middle scale: far below the 16 bits in which it is stored. */
const MIDDLE_TOLERANCE = 1e-7;

export interface RefitPrograms {
  readonly dots: Program;
  /** Needed when the path has middle scales. */
  readonly middle?: Program;
}

/** The path with refitted scales. */
export async function refit(weight: Float32Array, path: RawPath, programs: RefitPrograms): Promise<RawPath> {
  let { outScales, inScales, midScales } = path;
  const rows = outScales.length;
  const cols = inScales.length;
  for (let round = 0; round < ROUNDS; round++) {
    if (midScales && programs.middle) {
      const left = scaledSigns(path.outLatents, outScales, rows);
      const right = scaledSigns(path.inLatents, inScales, cols);
      const { matrix, vector } = await programs.middle.run({ weight, left, right });
      midScales = conjugateGradients(matrix, vector, midScales, MIDDLE_TOLERANCE);
    }
    const right = scaledSigns(path.inLatents, inScales, cols, midScales);
    const byRow = await programs.dots.run({
      weight,
      left: scaledSigns(path.outLatents, outScales, rows),
      right,
    });
    outScales = rescaled(outScales, byRow.rowDots, byRow.rowSquares);
    const byCol = await programs.dots.run({
      weight,
      left: scaledSigns(path.outLatents, outScales, rows),
      right,
    });
    inScales = rescaled(inScales, byCol.colDots, byCol.colSquares);
  }
  return { ...path, outScales, inScales, ...(midScales && { midScales }) };
}

/** sgn(latents) o (scales mid^T), [length, rank]. */
export function scaledSigns(
  latents: Float32Array,
  scales: Float32Array,
  length: number,
  mid?: Float32Array,
): Float32Array {
  const rank = latents.length / length;
  const values = new Float32Array(latents.length);
  for (let row = 0; row < length; row++) {
    const scale = scales[row];
    for (let k = 0; k < rank; k++) {
      const at = row * rank + k;
      const size = mid ? scale * mid[k] : scale;
      values[at] = latents[at] < 0 ? -size : size;
    }
  }
  return values;
}

/** Each scale times <W, Y> / <Y, Y> over its row; one whose row of Y is zero stays. */
function rescaled(scales: Float32Array, dots: Float32Array, squares: Float32Array): Float32Array {
  return scales.map((scale, i) => {
    const square = squares[i];
    return square > 0 ? scale * (dots[i] / square) : scale;
  });
}
