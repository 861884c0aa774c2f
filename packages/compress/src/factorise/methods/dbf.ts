/**
 * DBF (arXiv 2505.11076): iterations of three projections a factor, the first at rho = (t / (T - 3))^3, the others at 1,
 * with a middle scale. The official code takes T = 260 and a ridge of 0.03; 400 and 0.01 lose less in under half its time.
 */
import { annealing } from "./annealing.js";

export const dbf = annealing({
  variant: { middle: "free", projections: 3, ridge: 0.01, smallestRho: 0 },
  iterations: 400,
  rho: (t, total) => Math.min(1, t / Math.max(1, total - 3)) ** 3,
});
