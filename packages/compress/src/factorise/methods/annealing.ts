/** The ADMM methods: one variant and one schedule of rho each. */
import type { AdmmShape, AdmmVariant } from "../admm-program.js";
import { runAdmm } from "../admm.js";
import { BLOCKED_ENTRIES, runBlockedAdmm } from "../blocked-admm.js";
import { runEnvelopeAdmm } from "../envelope-admm.js";
import { integerWeight } from "../integer-weight.js";
import type { SignPath } from "../sign-path.js";
import { fromLowRank } from "../spectral-start.js";
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
    metric: true,
    refit: true,
    find: tall(async (task) => {
      const { programs, shape, weight, schedule, iterations, seed, path, signal, onIteration } = task;
      const { variant, rho, finish } = settings[schedule];
      const rhos = Array.from({ length: iterations }, (_, t) => rho(t, iterations));
      if (task.gram) {
        const found = await runEnvelopeAdmm({ task, variant, rhos, start: await fromLowRank(task) });
        return finish ? finish(found) : found;
      }
      const run = { shape, variant, weight, rhos, seed, stream: path, signal, onIteration };
      const codes =
        isLarge(shape) && variant.integer ? integerWeight(weight, shape.rows, shape.cols) : undefined;
      const found = codes
        ? await runBlockedAdmm({ ...run, codes, threads: programs.threads })
        : await runAdmm({ ...run, program: (actual, careful) => programs.admm(shape, actual, careful) });
      return finish ? finish(found) : found;
    }),
  };
}

/** Whether one program would hold too many copies of the factors. */
function isLarge({ rows, cols, rank }: AdmmShape): boolean {
  return (rows + cols) * rank > BLOCKED_ENTRIES;
}
