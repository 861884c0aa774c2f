/**
 * The lowest error measured at equal stored bits on real and power-law matrices (docs/methods.md): NanoQuant's stored form
 * without a middle scale, whose bits buy more as rank; scales of 8 bits, for the same reason; annealed for longer, with a
 * smaller ridge and the schedule of rising-rho.ts.
 */
import { annealing } from "./annealing.js";
import type { FactoredMethod } from "./method.js";
import { risingRho, RISING_FROM } from "./rising-rho.js";

const annealed = annealing({
  variant: { middle: "unit", projections: 1, ridge: 0.003, smallestRho: RISING_FROM, integer: true },
  iterations: 450,
  rho: risingRho,
});

export const auto: FactoredMethod = { ...annealed, scaleBits: 8 };
