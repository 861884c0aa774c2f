/**
 * DBF (arXiv 2505.11076): signs with a middle scale. The official code makes 260 iterations of three projections a factor, the
 * first at rho = (t / (T - 3))^3, the others at 1. One projection an iteration loses less: a factor that follows every
 * change of the other closely settles before the other has found its place. So `tuned` anneals as `auto` does.
 */
import { annealing, type AnnealingSettings, annealingStart } from "./annealing.js";
import { risingRho, RISING_FROM } from "./rising-rho.js";

const tuned: AnnealingSettings = {
  variant: { middle: "free", projections: 1, ridge: 0.003, smallestRho: RISING_FROM },
  iterations: 500,
  rho: risingRho,
};
const official: AnnealingSettings = {
  variant: { middle: "free", projections: 3, ridge: 0.03, smallestRho: 0 },
  iterations: 260,
  rho: (t, total) => Math.min(1, t / Math.max(1, total - 3)) ** 3,
};

export const dbf = annealing(tuned, official);

/** The algorithm for other methods' paths. */
export const dbfStart = annealingStart(tuned, official);
