/** The ADMM methods: one variant and one schedule of rho each. */
import type { AdmmShape, AdmmVariant } from "../admm-program.js";
import { runAdmm } from "../admm.js";
import { BLOCKED_ENTRIES, runBlockedAdmm } from "../blocked-admm.js";
import { runEnvelopeAdmm } from "../envelope-admm.js";
import { integerWeight, LARGEST_LOSS_OF_LARGE, transposedCodes } from "../integer-weight.js";
import { type SignPath, transposePath } from "../sign-path.js";
import { fromLowRank } from "../spectral-start.js";
import { type FactoredMethod, type PathStart, type PathTask, tall } from "./method.js";

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
    find: async (task) => {
      const { variant, rho, finish } = settings[task.schedule];
      const rhos = Array.from({ length: task.iterations }, (_, t) => rho(t, task.iterations));
      const found = (await annealBlocked(task, variant, rhos)) ?? (await annealWhole(task, variant, rhos));
      return finish ? finish(found) : found;
    },
  };
}

/** By slabs, where the matrix is large and codes do not lose too much of it. */
async function annealBlocked(
  { shape, gram, weight, programs, seed, path, signal, onIteration }: PathTask,
  variant: AdmmVariant,
  rhos: readonly number[],
): Promise<SignPath | undefined> {
  if (gram || !variant.integer || !isLarge(shape)) return undefined;
  const codes = integerWeight(weight, shape.rows, shape.cols, LARGEST_LOSS_OF_LARGE);
  if (!codes) return undefined;
  const run = { variant, rhos, seed, stream: path, signal, onIteration, threads: programs.threads };
  const { rows, cols, rank } = shape;
  // As `tall`, without a transposed copy of a large matrix.
  if (rows >= cols) return runBlockedAdmm({ ...run, shape, codes });
  const turned = { shape: { rows: cols, cols: rows, rank }, codes: transposedCodes(codes) };
  return transposePath(await runBlockedAdmm({ ...run, ...turned }));
}

/** In one program. */
function annealWhole(task: PathTask, variant: AdmmVariant, rhos: readonly number[]): Promise<SignPath> {
  const find = tall(async (upright) => {
    const { programs, shape, weight, seed, path, signal, onIteration } = upright;
    if (upright.gram) {
      return runEnvelopeAdmm({ task: upright, variant, rhos, start: await fromLowRank(upright) });
    }
    const run = { shape, variant, weight, rhos, seed, stream: path, signal, onIteration };
    return runAdmm({ ...run, program: (actual, careful) => programs.admm(shape, actual, careful) });
  });
  return find(task);
}

/** Whether one program would hold too many copies of the factors. */
function isLarge({ rows, cols, rank }: AdmmShape): boolean {
  return (rows + cols) * rank > BLOCKED_ENTRIES;
}
