/** W ~ U' V'^T of a given rank, the singular values shared evenly: where signs come from in every spectral start. */
import type { AdmmShape } from "./admm-program.js";
import { basisOf, timesRoot } from "./metric-basis.js";
import type { Programs } from "./programs.js";
import { truncatedSvd } from "./svd.js";
import type { Schedule } from "./types.js";

/** U' [rows, rank] and V' [cols, rank]. */
export interface LowRank {
  readonly left: Float32Array;
  readonly right: Float32Array;
}

export interface LowRankTask {
  /** [rows, cols] */
  readonly weight: Float32Array;
  readonly shape: AdmmShape;
  /** [cols, cols] */
  readonly gram?: Float32Array | undefined;
  readonly programs: Programs;
  readonly seed: number;
  /** @default "tuned" */
  readonly schedule?: Schedule;
}

/**
 * Best in the Frobenius norm, or, with a Gram matrix G, in tr(E G E^T). For any root S S^T = G the best U is the left part
 * of the SVD of W S, and given U the best right factor is W^T U whatever the metric: no root has to be inverted. (OSVD
 * whitens with the symmetric root E L^(1/2) E^T; without its last E^T, as MDBF's first code had it, the inverse does not fit.)
 */
export async function lowRank({
  weight,
  shape,
  gram,
  programs,
  seed,
  schedule,
}: LowRankTask): Promise<LowRank> {
  const { rows, cols, rank } = shape;
  const whitened = gram
    ? await timesRoot(weight, rows, cols, await basisOf(gram, cols, programs), programs)
    : weight;
  const { values, left, right } = await truncatedSvd(whitened, shape, programs, seed, schedule);
  const scaled = (factor: Float32Array, power: number): Float32Array =>
    factor.map((value, i) => (values[i % rank] > 0 ? value * values[i % rank] ** power : 0));
  if (!gram) return { left: scaled(left, 0.5), right: scaled(right, 0.5) };
  const projected = await programs.product(weight, left, { m: cols, k: rows, n: rank, transA: true });
  return { left: scaled(left, 0.5), right: scaled(projected, -0.5) };
}
