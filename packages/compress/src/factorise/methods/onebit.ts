/**
 * OneBit (arXiv 2402.11295, section 3.3, "SVID"): S = sgn(W) and a rank-1 envelope of |W|. With the signs fixed the best
 * envelope is the leading singular triplet of |W|; `nmf` reaches the same product from a positive random start by
 * alternating least squares, as rank-1 non-negative factorisation does; `copy` takes the signs alone.
 */
import { normalVariates } from "@subbit/core";
import { rankOneOfMagnitudes } from "../rank-one.js";
import type { Envelope, FullStart, FullTask, OneBitMethod } from "./method.js";

/** Far more than convergence takes: |W| is close to rank 1. */
const MOST_ITERATIONS = 200;

const svd: FullStart = {
  iterations: { tuned: 1, official: 1 },
  find: ({ weight, rows, cols }) => envelopeOf(rankOneOfMagnitudes(weight, rows, cols)),
};

const nmf: FullStart = {
  iterations: { tuned: MOST_ITERATIONS, official: MOST_ITERATIONS },
  find: ({ weight, rows, cols, iterations, seed }) => {
    const start = Float64Array.from(normalVariates(cols, { seed }), Math.abs);
    return envelopeOf(rankOneOfMagnitudes(weight, rows, cols, { start, steps: iterations }));
  },
};

const copy: FullStart = { iterations: { tuned: 1, official: 1 }, find: flat };

export const onebit: OneBitMethod = { kind: "onebit", inits: { svd, nmf, copy } };

function envelopeOf({ left, right }: { left: Float64Array; right: Float64Array }): Envelope {
  return { outScales: Float32Array.from(left), inScales: Float32Array.from(right) };
}

/** The one size that fits all magnitudes best, once importance is folded out. */
function flat({ weight, weights }: FullTask): Envelope {
  const { rows, cols } = weights;
  let dots = 0;
  let squares = 0;
  rows.forEach((row, i) => {
    cols.forEach((col, j) => {
      dots += Math.abs(weight[i * cols.length + j]) * row * col;
      squares += (row * col) ** 2;
    });
  });
  const size = dots / squares;
  return { outScales: rows.slice(), inScales: cols.map((col) => col * size) };
}
