/** From options to what every stage of a run shares, in two steps: what calibration needs, then the student's ends. */
import { availableParallelism, totalmem } from "node:os";
import { SubbitError } from "@subbit/core";
import { BlockPrograms, type CompileOptions } from "@subbit/engine";
import { drawWindows } from "../calibrate/windows.js";
import { sha256 } from "../ledger/canonical.js";
import type { Ledger } from "../ledger/ledger.js";
import type { TuneLevel } from "../choices.js";
import type { CompressOptions } from "../options.js";
import { blocksAreTuned } from "../pipeline/compress-blocks.js";
import type { RunContext } from "../pipeline/context.js";
import { bytesOf, checkpointHash } from "../pipeline/fingerprint.js";
import { checkResources, estimateResources, type ResourceUse } from "../pipeline/resources.js";
import { makeStudentEnds } from "../pipeline/student-ends.js";
import type { Plan } from "../plan/plan.js";
import { type Recipe, recipeOf } from "../recipe.js";
import { readEnds } from "../student/model-state.js";
import { TeacherBlocks } from "../student/teacher-blocks.js";

export const DEFAULT_SAMPLES = 128;
export const DEFAULT_SEQLEN = 512;
export const DEFAULT_MEMORY_LIMIT = 3 * 2 ** 30;
const DEFAULT_SNAPSHOT_SECONDS = 60;
/** Windows that pass a block together where nothing else says how many. */
const FORWARD_BATCH = 4;

export type Prepared = Pick<RunContext, "recipe" | "windows" | "tune" | "seed" | "plan"> & {
  readonly use: ResourceUse;
};

/** What calibration and the measuring of curves need. */
export type CalibrationContext = Omit<RunContext, "studentEnds" | "endsKey">;

export interface Opened<Context> {
  readonly context: Context;
  readonly teacherSha256: string;
  readonly windowsHash: string;
}

/** Draws windows and checks memory and disk; nothing is computed yet. `folder` is where the ledger will be. */
export async function prepareRun(options: CompressOptions, plan: Plan, folder: string): Promise<Prepared> {
  const { model, tune = "full", seed = 0, memoryLimit = DEFAULT_MEMORY_LIMIT } = options;
  const wanted = recipeOf(options.preset ?? "default", options.recipe, plan.schedule);
  checkLatents(wanted, tune);
  const windows = drawWindows(options.calibration, {
    samples: options.samples ?? DEFAULT_SAMPLES,
    seqlen: options.seqlen ?? DEFAULT_SEQLEN,
    seed,
    vocabSize: model.spec.vocabSize,
  });
  const batch = Math.max(FORWARD_BATCH, wanted.blocks.batch, wanted.full.batch);
  const estimate = (recipe: Recipe): ResourceUse =>
    estimateResources(
      model.spec,
      plan,
      windows,
      tune,
      batch,
      memoryLimit,
      recipe.factorise.gram === "full",
      recipe.full,
    );
  // A metric that nobody asked for is no reason to refuse.
  const isOurs = options.recipe?.factorise?.gram === undefined;
  const fits = estimate(wanted).memoryBytes <= Math.min(memoryLimit, totalmem());
  const recipe: Recipe =
    fits || !isOurs ? wanted : { ...wanted, factorise: { ...wanted.factorise, gram: "diagonal" } };
  const use = estimate(recipe);
  await checkResources(use, memoryLimit, folder);
  return { plan, recipe, windows, tune, seed, use };
}

/** Blocks are tuned with unit latents, which a recipe made for raw ones would hardly move. */
function checkLatents(recipe: Recipe, tune: TuneLevel): void {
  if (tune === "full" && recipe.full.latents === "raw" && blocksAreTuned({ recipe, tune })) {
    throw new SubbitError(
      "usage",
      "Blocks are to be tuned before a training whose recipe starts from raw latents, which tuning does not leave; " +
        "leave one of the two out.",
    );
  }
}

/** Everything but the student's ends. The caller disposes of `context.programs`. */
export async function openCalibration(
  options: CompressOptions,
  prepared: Prepared,
  ledger: Ledger,
): Promise<Opened<CalibrationContext>> {
  const { model, signal } = options;
  const { windows, use } = prepared;
  const compile: CompileOptions = {
    threads: options.threads ?? availableParallelism(),
    // Threads that wait by spinning double the CPU time and starve whatever else the machine does.
    spin: false,
    ...(options.device !== undefined && { device: options.device as NonNullable<CompileOptions["device"]> }),
  };
  const teacherSha256 = options.teacherSha256 ?? (await checkpointHash(model.checkpoint, signal));
  const windowsHash = sha256(bytesOf(windows.ids));
  const context: CalibrationContext = {
    ...prepared,
    model,
    spec: model.spec,
    ledger,
    teacher: new TeacherBlocks(model, use.keepTeacher),
    teacherEnds: await readEnds(model),
    compile,
    programs: new BlockPrograms(model.spec, compile),
    root: sha256(JSON.stringify([teacherSha256, windowsHash, windows.seqlen, compile])),
    reportInit: options.reportInit ?? false,
    hiddenInMemory: use.hiddenInMemory,
    snapshotSeconds: options.snapshotSeconds ?? DEFAULT_SNAPSHOT_SECONDS,
    onProgress: options.onProgress ?? (() => {}),
    ...(signal && { signal }),
  };
  return { context, teacherSha256, windowsHash };
}

/** The whole context: embedding and head as the student will have them. */
export async function openRun(
  options: CompressOptions,
  prepared: Prepared,
  ledger: Ledger,
): Promise<Opened<RunContext>> {
  const opened = await openCalibration(options, prepared, ledger);
  return { ...opened, context: { ...opened.context, ...(await makeStudentEnds(opened.context)) } };
}
