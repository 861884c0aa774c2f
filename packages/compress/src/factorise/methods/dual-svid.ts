/**
 * Dual-SVID: W ~ U' V'^T by a truncated SVD with the singular values shared evenly, signs of both, and the best rank-1
 * envelope of the magnitudes of each. Joint-ITQ turns the pair by a rotation that draws it to its signs first.
 */
import { jointRotation } from "../itq.js";
import { rankOneOfMagnitudes } from "../rank-one.js";
import type { SignPath } from "../sign-path.js";
import { truncatedSvd } from "../svd.js";
import { type PathStart, type PathTask, tall } from "./method.js";

/** LittleBit-2's number of rotations. */
const ITQ_ITERATIONS = 50;

/** U' [rows, rank] and V' [cols, rank]. */
interface LowRank {
  readonly left: Float32Array;
  readonly right: Float32Array;
}

export const dualSvid: PathStart = {
  iterations: { tuned: 1, official: 1 },
  overcomplete: false,
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
  refit: false,
  find: tall(async (task) => envelopesOf(await jointRotation(await lowRank(task), task), task.shape)),
};

async function lowRank({ weight, shape, programs, seed }: PathTask): Promise<LowRank> {
  const { values, left, right } = await truncatedSvd(weight, shape, programs, seed);
  const shared = (factor: Float32Array): Float32Array =>
    factor.map((value, i) => value * Math.sqrt(values[i % shape.rank]));
  return { left: shared(left), right: shared(right) };
}

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
