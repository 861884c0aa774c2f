/**
 * MDBF (arXiv 2512.24545): envelopes of rank l on both factors. `closed-form` takes the signs of a low-rank factorisation
 * (in the metric of the inputs where it is given) and the truncated SVD of its magnitudes; `admm` anneals from there.
 */
import type { EnvelopeVariant } from "../envelope-admm-program.js";
import { runEnvelopeAdmm } from "../envelope-admm.js";
import { fromLowRank } from "../spectral-start.js";
import type { Schedule } from "../types.js";
import { type FactoredMethod, type PathStart, tall } from "./method.js";

/** The smallest that is not DBF's form. */
const DEFAULT_ENVELOPE = 2;

interface Settings {
  readonly variant: Omit<EnvelopeVariant, "envelope" | "metric">;
  readonly iterations: number;
  readonly rho: (t: number, total: number) => number;
}

const FIRST_RHO = 0.05;
/** The official code's first rho. */
const OFFICIAL_RHO = 0.03;

const SETTINGS: Readonly<Record<Schedule, Settings>> = {
  official: {
    variant: { middle: "free", projections: 3, ridge: 0.03, smallestRho: OFFICIAL_RHO },
    iterations: 260,
    rho: (t, total) => OFFICIAL_RHO + (1 - OFFICIAL_RHO) * Math.min(1, t / Math.max(1, total - 3)) ** 3,
  },
  tuned: {
    variant: { middle: "free", projections: 1, ridge: 0.003, smallestRho: FIRST_RHO },
    iterations: 600,
    rho: (t, total) => FIRST_RHO + ((1 - FIRST_RHO) * t) / Math.max(1, total - 1),
  },
};

const closedForm: PathStart = {
  iterations: { tuned: 1, official: 1 },
  overcomplete: false,
  metric: true,
  refit: false,
  find: tall(async (task) => {
    const found = await fromLowRank(task);
    task.onIteration?.(task.iterations);
    return found;
  }),
};

const admm: PathStart = {
  iterations: { tuned: SETTINGS.tuned.iterations, official: SETTINGS.official.iterations },
  overcomplete: true,
  metric: true,
  refit: true,
  first: closedForm,
  find: tall(async (task) => {
    const { variant, rho } = SETTINGS[task.schedule];
    const rhos = Array.from({ length: task.iterations }, (_, t) => rho(t, task.iterations));
    return runEnvelopeAdmm({ task, variant, rhos, start: await fromLowRank(task) });
  }),
};

export const mdbf: FactoredMethod = {
  kind: "factored",
  midScale: true,
  paths: 1,
  envelope: DEFAULT_ENVELOPE,
  envelopes: true,
  inits: { admm, "closed-form": closedForm },
};
