/** Finds the paths of a folded matrix: one after the other, each on what the ones before left, then all together. */
import type { OnProgress } from "@subbit/core";
import type { AdmmShape } from "./admm-program.js";
import type { FactoredChoice } from "./choice.js";
import type { PathStart, PathTask } from "./methods/method.js";
import type { Programs } from "./programs.js";
import { refine } from "./refine.js";
import { refitPath, refitPaths, subtract } from "./refit.js";
import { rootMeanSquare } from "./root-mean-square.js";
import { type SignPath, zeroPath } from "./sign-path.js";
import type { FactoriseOptions } from "./types.js";

export interface SearchTask {
  /** [rows, cols], importance folded in, root mean square 1. */
  readonly weight: Float32Array;
  /** [cols, cols], the metric of the folded inputs. */
  readonly gram?: Float32Array | undefined;
  readonly rows: number;
  readonly cols: number;
  readonly choice: FactoredChoice;
  readonly programs: Programs;
  readonly options: Pick<FactoriseOptions, "seed" | "signal"> & {
    readonly onProgress?: OnProgress | undefined;
  };
}

/** Steps of refinement that stand for the joint refit where envelopes of l > 1 have no closed form. */
const JOINT_STEPS = 60;

export async function findPaths(task: SearchTask): Promise<SignPath[]> {
  const { weight, gram, rows, cols, choice, programs, options } = task;
  const { start, ranks, envelope } = choice;
  const shapes = ranks.map((rank): AdmmShape => ({ rows, cols, rank }));
  const several = shapes.length > 1;
  const found =
    several && start.first && choice.schedule === "official"
      ? await eachOnce(task, shapes, start.first)
      : await greedy(task, shapes, start);
  const refits = start.refit || gram !== undefined;
  const fitted =
    (several && refits) || gram ? await refitPaths(weight, found, shapes, { programs, gram }) : found;
  const joint = several && refits && envelope > 1 ? JOINT_STEPS : 0;
  const steps = Math.max(choice.refineSteps, joint);
  if (steps === 0) return fitted;
  return refine({ weight, gram, paths: fitted, shapes, steps, programs, signal: options.signal });
}

/**
 * Each path on what the ones before it left. They are fitted in the metric in which the next one is sought: a residual
 * that is small in another metric may be large in that one.
 */
async function greedy(task: SearchTask, shapes: readonly AdmmShape[], start: PathStart): Promise<SignPath[]> {
  const { programs } = task;
  const gram = start.metric ? task.gram : undefined;
  const found: SignPath[] = [];
  let left = task.weight;
  for (const [path, shape] of shapes.entries()) {
    const raw = await findOn(left, pathTask(task, shape, path, start), start, task.choice);
    const fitted = start.refit || gram ? await refitPath(left, raw, shape, { programs, gram }) : raw;
    found.push(fitted);
    if (path + 1 < shapes.length) left = await subtract(left, fitted, shape, programs);
  }
  return found;
}

/** All paths by the cheap start, then each once by the other against what the rest leaves. */
async function eachOnce(
  task: SearchTask,
  shapes: readonly AdmmShape[],
  first: PathStart,
): Promise<SignPath[]> {
  const { gram, programs, choice } = task;
  const quiet = { ...task, options: { ...task.options, onProgress: undefined } };
  const found = await greedy(quiet, shapes, first);
  let error = task.weight;
  for (const [p, path] of found.entries()) error = await subtract(error, path, shapes[p], programs);
  for (const [p, shape] of shapes.entries()) {
    const target = await subtract(error, found[p], shape, programs, -1);
    const raw = await findOn(target, pathTask(task, shape, p, choice.start), choice.start, choice);
    found[p] = await refitPath(target, raw, shape, { programs, gram });
    error = await subtract(target, found[p], shape, programs);
  }
  return found;
}

/** Root mean square beside that of the whole matrix, below which a residual is rounding. */
const NOTHING = 1e-6;
/** What single precision may leave of a size that was divided out. */
const ROUNDING = 1e-4;

/** One path of `target`, which the start sees at unit root mean square. */
async function findOn(
  target: Float32Array,
  task: Omit<PathTask, "weight">,
  start: PathStart,
  { midScale, envelope }: FactoredChoice,
): Promise<SignPath> {
  const size = rootMeanSquare(target);
  if (size < NOTHING) return zeroPath(task.shape, midScale, envelope);
  // The first path's target is at that size already: a large matrix is not copied for rounding's sake.
  if (Math.abs(size - 1) < ROUNDING) return start.find({ ...task, weight: target });
  const found = await start.find({ ...task, weight: target.map((value) => value / size) });
  return { ...found, inScales: found.inScales.map((scale) => scale * size) };
}

function pathTask(
  { gram, choice, programs, options }: SearchTask,
  shape: AdmmShape,
  path: number,
  start: PathStart,
): Omit<PathTask, "weight"> {
  const { envelope, schedule, ranks } = choice;
  const iterations = start === choice.start ? choice.iterations : start.iterations[schedule];
  return {
    shape,
    envelope,
    gram: start.metric ? gram : undefined,
    schedule,
    iterations,
    seed: options.seed ?? 0,
    path,
    programs,
    signal: options.signal,
    onIteration: (done) =>
      options.onProgress?.({
        stage: "factorise",
        done: path * iterations + done,
        total: ranks.length * iterations,
        unit: "steps",
      }),
  };
}
