/** The ADMM methods: one variant and one schedule of rho each. */
import type { AdmmVariant } from "../admm-program.js";
import { runAdmm } from "../admm.js";
import type { Method } from "./method.js";

export interface AnnealingSettings {
  readonly variant: AdmmVariant;
  readonly iterations: number;
  /** rho of iteration t of T. */
  readonly rho: (t: number, total: number) => number;
}

/** A method that anneals rho by ADMM. */
export function annealing({ variant, iterations, rho }: AnnealingSettings): Method {
  return {
    midScale: variant.middle === "free",
    paths: 1,
    iterations,
    overcomplete: true,
    refit: true,
    factorise: ({ programs, shape, weight, iterations: total, seed, path, signal, onIteration }) =>
      runAdmm({
        program: (actual, careful) => programs.admm(shape, actual, careful),
        shape,
        variant,
        weight,
        rhos: Array.from({ length: total }, (_, t) => rho(t, total)),
        seed,
        stream: path,
        signal,
        onIteration,
      }),
  };
}
