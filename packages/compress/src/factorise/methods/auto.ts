/**
 * The lowest error measured at equal stored bits on real and power-law matrices (docs/methods.md): NanoQuant's stored form
 * without a middle scale, whose bits buy more as rank; scales of 8 bits, for the same reason; annealed for longer, with a
 * smaller ridge, and not from rho = 0, where the factors ignore their signs and nothing is decided.
 */
import { annealing } from "./annealing.js";
import type { FactoredMethod } from "./method.js";

const FIRST_RHO = 0.05;

const annealed = annealing({
  variant: { middle: "unit", projections: 1, ridge: 0.003, smallestRho: FIRST_RHO, integer: true },
  iterations: 600,
  rho: (t, total) => FIRST_RHO + ((1 - FIRST_RHO) * t) / Math.max(1, total - 1),
});

export const auto: FactoredMethod = { ...annealed, scaleBits: 8 };
