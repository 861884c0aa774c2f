/**
 * Dual-SVID: W ~ U' V'^T by a truncated SVD with the singular values shared evenly, signs of both, and the best rank-1
 * envelope of the magnitudes of each. Joint-ITQ turns the pair by a rotation that draws it to its signs first.
 */
import { jointRotation } from "../itq.js";
import { lowRank, type LowRank } from "../low-rank.js";
import { rankOneOfMagnitudes } from "../rank-one.js";
import type { SignPath } from "../sign-path.js";
import { type PathStart, type PathTask, tall } from "./method.js";

/** LittleBit-2's number of rotations. */
const ITQ_ITERATIONS = 50;

export const dualSvid: PathStart = {
  iterations: { tuned: 1, official: 1 },
  overcomplete: false,
  metric: true,
  refit: false,
  find: tall(async (task) => {
    const found = envelopesOf(await lowRank(task), task.shape);
    task.onIteration?.(task.iterations);
    return found;
  }),
};

export const itq: PathStart = {
  iterations: { tuned: ITQ_ITERATIONS, official: ITQ_ITERATIONS },
  overcomplete: false,
  metric: true,
  refit: false,
  find: tall(async (task) => envelopesOf(await jointRotation(await lowRank(task), task), task.shape)),
};

function envelopesOf({ left, right }: LowRank, { rows, cols, rank }: PathTask["shape"]): SignPath {
  const out = rankOneOfMagnitudes(left, rows, rank);
  const into = rankOneOfMagnitudes(right, cols, rank);
  return {
    outLatents: left,
    inLatents: right,
    outScales: Float32Array.from(out.left),
    inScales: Float32Array.from(into.left),
    midScales: Float32Array.from(out.right, (value, k) => value * into.right[k]),
  };
}
