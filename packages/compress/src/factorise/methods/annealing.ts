/** The ADMM methods: one variant and one schedule of rho each. */
import type { AdmmVariant } from "../admm-program.js";
import { runAdmm } from "../admm.js";
import type { SignPath } from "../sign-path.js";
import { type FactoredMethod, type PathStart, tall } from "./method.js";

export interface AnnealingSettings {
  readonly variant: AdmmVariant;
  readonly iterations: number;
  /** rho of iteration t of T. */
  readonly rho: (t: number, total: number) => number;
  /** What becomes of the annealed path. */
  readonly finish?: (path: SignPath) => SignPath;
}

/** A method with one path that anneals rho by ADMM; without `official` settings both schedules are one. */
export function annealing(tuned: AnnealingSettings, official: AnnealingSettings = tuned): FactoredMethod {
  return {
    kind: "factored",
    midScale: tuned.variant.middle === "free",
    paths: 1,
    envelope: 1,
    envelopes: false,
    inits: { admm: annealingStart(tuned, official) },
  };
}

/** The start by itself, for methods that have others too. */
export function annealingStart(tuned: AnnealingSettings, official: AnnealingSettings = tuned): PathStart {
  const settings = { tuned, official };
  return {
    iterations: { tuned: tuned.iterations, official: official.iterations },
    overcomplete: true,
    metric: false,
    refit: true,
    find: tall(async ({ programs, shape, weight, schedule, iterations, seed, path, signal, onIteration }) => {
      const { variant, rho, finish } = settings[schedule];
      const found = await runAdmm({
        program: (careful) => programs.admm(shape, variant, careful),
        shape,
        variant,
        weight,
        rhos: Array.from({ length: iterations }, (_, t) => rho(t, iterations)),
        seed,
        stream: path,
        signal,
        onIteration,
      });
      return finish ? finish(found) : found;
    }),
  };
}
