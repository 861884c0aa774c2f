/**
 * The lowest error measured at equal stored bits on real and power-law matrices: NanoQuant's stored form (no middle
 * scale; the bits of c buy more as rank), annealed twice as long, with a smaller ridge, and not from rho = 0, where the
 * factors ignore their signs and nothing is decided.
 */
import { annealing } from "./annealing.js";

const FIRST_RHO = 0.05;

export const auto = annealing({
  variant: { middle: "unit", projections: 1, ridge: 0.003, smallestRho: FIRST_RHO, integer: true },
  iterations: 800,
  rho: (t, total) => FIRST_RHO + ((1 - FIRST_RHO) * t) / Math.max(1, total - 1),
});
