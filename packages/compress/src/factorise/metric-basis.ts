/**
 * The metric of a Gram matrix as a few directions and a rest: G ~ E diag(spectrum) E^T + tail (I - E E^T). Small matrices
 * have all directions (tail 0, exact); large ones the leading ones only, found by products on the engine, since a whole
 * eigendecomposition would take longer than the search that it is for. The tail is the smallest eigenvalue kept, so that the
 * form is never below G, and iterations that solve with it and correct by G itself settle.
 */
import { createHash } from "node:crypto";
import type { AdmmShape } from "./admm-program.js";
import type { Programs } from "./programs.js";
import { transposed } from "./sign-path.js";
import { truncatedSvd } from "./svd.js";
import { symmetricEigen } from "./symmetric-eigen.js";

/** Largest matrix that is decomposed whole, in plain JavaScript: about a second and a half. */
const WHOLE = 640;
/** Directions that are kept of larger ones. */
export const KEPT_DIRECTIONS = 320;

export interface MetricBasis {
  /** k */
  readonly directions: number;
  /** E, [cols, k] */
  readonly basis: Float32Array;
  /** [k], not negative */
  readonly spectrum: Float32Array;
  /** 0 when all directions are kept. */
  readonly tail: number;
}

/** How many directions of a Gram matrix [cols, cols] a basis keeps. */
export function directionsOf(cols: number): number {
  return cols <= WHOLE ? cols : KEPT_DIRECTIONS;
}

/** `metricBasis`, remembered by content: linears that read the same inputs have the same metric. */
export function basisOf(gram: Float32Array, cols: number, programs: Programs): Promise<MetricBasis> {
  const key = `basis ${createHash("sha256").update(gram).digest("hex")}`;
  return programs.recall(key, () => metricBasis(gram, cols, programs));
}

/** Of gram [cols, cols], positive semidefinite. */
export async function metricBasis(
  gram: Float32Array,
  cols: number,
  programs: Programs,
): Promise<MetricBasis> {
  const directions = directionsOf(cols);
  if (directions === cols) {
    const { values, vectors } = symmetricEigen(gram, cols);
    return {
      directions,
      basis: transposed(Float32Array.from(vectors), cols, cols),
      spectrum: Float32Array.from(values, (value) => Math.max(0, value)),
      tail: 0,
    };
  }
  const shape: AdmmShape = { rows: cols, cols, rank: directions };
  const { values, right } = await truncatedSvd(gram, shape, programs, 0, "official");
  return { directions, basis: right, spectrum: values, tail: values[directions - 1] };
}

/** W S for the symmetric root S = E diag(sqrt(spectrum)) E^T + sqrt(tail) (I - E E^T): weight [rows, cols]. */
export async function timesRoot(
  weight: Float32Array,
  rows: number,
  cols: number,
  { directions, basis, spectrum, tail }: MetricBasis,
  programs: Programs,
): Promise<Float32Array> {
  const rest = Math.sqrt(tail);
  const turned = await programs.product(weight, basis, { m: rows, k: cols, n: directions });
  const scaled = turned.map((value, at) => value * (Math.sqrt(spectrum[at % directions]) - rest));
  const back = await programs.product(scaled, basis, { m: rows, k: directions, n: cols, transB: true });
  for (let at = 0; at < back.length; at++) back[at] += rest * weight[at];
  return back;
}
