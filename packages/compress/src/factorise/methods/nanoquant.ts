/**
 * LB-ADMM (NanoQuant, arXiv 2602.06694, section 5): rho rises linearly from 0 to 1 in 400 iterations of one ridge solve
 * and one projection. The official code anneals with rank-1 envelopes and then replaces each by the mean magnitude of its
 * rows (`official`); with a unit middle scale from the start nothing is lost at the end (`tuned`).
 */
import type { SignPath } from "../sign-path.js";
import { annealing } from "./annealing.js";

const iterations = 400;
const rho = (t: number, total: number): number => t / Math.max(1, total - 1);
const variant = { projections: 1, ridge: 0.03, smallestRho: 0 } as const;

export const nanoquant = annealing(
  { variant: { ...variant, middle: "unit", integer: true }, iterations, rho },
  { variant: { ...variant, middle: "free" }, iterations, rho, finish: withoutMiddle },
);

/** The same signs with each envelope flattened along the rank. */
function withoutMiddle({ midScales, ...path }: SignPath): SignPath {
  if (!midScales) return path;
  const mean = midScales.reduce((sum, value) => sum + value, 0) / midScales.length;
  return { ...path, inScales: path.inScales.map((scale) => scale * mean) };
}
