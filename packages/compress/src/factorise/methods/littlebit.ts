/**
 * Dual-SVID (LittleBit, arXiv 2506.13771, section 3): W ~ U' V'^T by a truncated SVD with the singular values shared
 * evenly, signs of both, and the best rank-1 envelope of the magnitudes of each; a second path fits what the first left.
 */
import { rankOneOfMagnitudes } from "../rank-one.js";
import { truncatedSvd } from "../svd.js";
import type { Method } from "./method.js";

export const littlebit: Method = {
  midScale: true,
  paths: 2,
  iterations: 1,
  overcomplete: false,
  refit: false,
  factorise: async ({ shape, weight, programs, seed, onIteration }) => {
    const { rows, cols, rank } = shape;
    const { values, left, right } = await truncatedSvd(weight, shape, programs, seed);
    const shared = (factor: Float32Array): Float32Array =>
      factor.map((value, i) => value * Math.sqrt(values[i % rank]));
    const outLatents = shared(left);
    const inLatents = shared(right);
    const out = rankOneOfMagnitudes(outLatents, rows, rank);
    const into = rankOneOfMagnitudes(inLatents, cols, rank);
    onIteration?.(1);
    return {
      outLatents,
      inLatents,
      outScales: Float32Array.from(out.left),
      inScales: Float32Array.from(into.left),
      midScales: Float32Array.from(out.right, (value, k) => value * into.right[k]),
    };
  },
};
