/** Finds the paths of a folded matrix: one after the other, each on what the ones before left, then all together. */
import type { AdmmShape } from "./admm-program.js";
import type { FactoredChoice } from "./choice.js";
import type { PathTask } from "./methods/method.js";
import type { Programs } from "./programs.js";
import { refine } from "./refine.js";
import { refitPath, refitPaths, subtract } from "./refit.js";
import type { SignPath } from "./sign-path.js";
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
  readonly options: Pick<FactoriseOptions, "seed" | "signal" | "onProgress">;
}

export async function findPaths(task: SearchTask): Promise<SignPath[]> {
  const { weight, gram, rows, cols, choice, programs, options } = task;
  const { start, ranks, refineSteps } = choice;
  const shapes = ranks.map((rank): AdmmShape => ({ rows, cols, rank }));
  const found: SignPath[] = [];
  let left = weight;
  for (const [path, shape] of shapes.entries()) {
    const first = await start.find(pathTask(task, shape, path, left));
    const fitted = start.refit || gram ? await refitPath(left, first, shape, { programs, gram }) : first;
    found.push(fitted);
    if (path + 1 < shapes.length) left = await subtract(left, fitted, shape, programs);
  }
  const joint = found.length > 1 && (start.refit || gram);
  const fitted = joint ? await refitPaths(weight, found, shapes, { programs, gram }) : found;
  if (refineSteps === 0) return fitted;
  return refine({
    weight,
    gram,
    paths: fitted,
    shapes,
    steps: refineSteps,
    programs,
    signal: options.signal,
  });
}

function pathTask(
  { gram, choice, programs, options }: SearchTask,
  shape: AdmmShape,
  path: number,
  weight: Float32Array,
): PathTask {
  const { envelope, schedule, iterations, ranks } = choice;
  return {
    shape,
    envelope,
    weight,
    gram,
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
