/**
 * LB-ADMM (NanoQuant, arXiv 2602.06694, section 5): rho rises linearly from 0 to 1 in 400 iterations of one ridge solve
 * and one projection. The official code anneals with rank-1 envelopes and then replaces each by the mean magnitude of its
 * rows; here the envelope has a unit middle scale from the start, so that nothing is lost at the end.
 */
import { annealing } from "./annealing.js";

export const nanoquant = annealing({
  variant: { middle: "unit", projections: 1, ridge: 0.03, smallestRho: 0, integer: true },
  iterations: 400,
  rho: (t, total) => t / Math.max(1, total - 1),
});
