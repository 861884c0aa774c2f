/** The two stages before blocks are touched: moments of the calibration windows, and ranks by predicted loss. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { calibrate, type Moments, momentsFromArtefact, momentsToArtefact } from "../calibrate/calibrate.js";
import { Ledger, type StepKey } from "../ledger/ledger.js";
import type { CompressOptions, PlanOptions } from "../options.js";
import { someWindows } from "../pipeline/context.js";
import { allocate } from "../plan/allocation/allocate.js";
import { measureCurves } from "../plan/allocation/measure-curves.js";
import { chosenAllocation } from "../plan/check-options.js";
import type { Plan } from "../plan/plan.js";
import { planModel } from "../plan/plan-model.js";
import { type CalibrationContext, openCalibration, prepareRun } from "./open-run.js";

const CALIBRATE_VERSION = 1;

export interface Calibration {
  readonly moments: Moments;
  readonly key: StepKey;
  readonly tokens: number;
}

/** The moments of the teacher, from the ledger where they are there. */
export async function calibrateRun(context: CalibrationContext): Promise<Calibration> {
  const { model, ledger, windows, compile, root, onProgress, signal } = context;
  const some = someWindows(windows, context.recipe.calibrate.windows);
  const step = {
    name: "calibrate",
    version: CALIBRATE_VERSION,
    params: { windows: some.count },
    inputs: [root],
  };
  const { artefact, key } = await ledger.step(step, async () => {
    const moments = await calibrate(model, context.teacher, context.teacherEnds, some, {
      ...compile,
      onWindows: (done) => onProgress({ stage: "calibrate", done, total: some.count, unit: "windows" }),
      ...(signal && { signal }),
    });
    return momentsToArtefact(moments);
  });
  return { moments: momentsFromArtefact(model.spec, artefact), key, tokens: some.count * some.seqlen };
}

/** Whether the options (or the default) ask for ranks by predicted loss. */
export function allocatesByLoss(options: PlanOptions, plan: Plan): boolean {
  return chosenAllocation(options, plan.method) === "loss";
}

/** The context's uniform plan with ranks by predicted loss. */
export async function allocateRun(
  context: CalibrationContext,
  { moments, key }: Calibration,
  options: CompressOptions,
): Promise<Plan> {
  const { spec, plan } = context;
  const measurements = await measureCurves(context, moments, key, options.allocateForms);
  return allocate({ spec, plan, options, ...measurements });
}

/**
 * The plan that `compress` would follow with the same options: where ranks are by predicted loss, this calibrates and
 * measures as it would. The steps stay in `options.work`, so that the run that follows finds them; without it nothing
 * is left behind.
 */
export async function planCompression(options: CompressOptions): Promise<Plan> {
  const plan = planModel(options.model, options);
  if (!allocatesByLoss(options, plan)) return plan;
  const own = options.work === undefined ? await mkdtemp(join(tmpdir(), "subbit-plan-")) : undefined;
  const work = resolve(options.work ?? own ?? "");
  try {
    const prepared = await prepareRun({ ...options, tune: "none" }, plan, work);
    const ledger = await Ledger.open(work, options.signal ? { signal: options.signal } : {});
    try {
      const { context } = await openCalibration(options, prepared, ledger);
      try {
        return await allocateRun(context, await calibrateRun(context), options);
      } finally {
        await context.programs.dispose();
      }
    } finally {
      await ledger.close();
    }
  } finally {
    if (own !== undefined) await rm(own, { recursive: true, force: true });
  }
}
