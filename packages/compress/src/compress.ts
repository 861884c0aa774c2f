/**
 * `compress`: from a dense teacher and a text to a packed model. Plan, calibrate, share out ranks, factorise and tune
 * block by block, distil the whole, package, verify; every stage but the first and last is made of ledger steps.
 */
import { basename, resolve } from "node:path";
import { checkTarget, writeSubbit } from "@subbit/core/node";
import { firstWindows, type Windows } from "./calibrate/windows.js";
import { Ledger } from "./ledger/ledger.js";
import type { CompressOptions, CompressResult } from "./options.js";
import { modelCard } from "./package/card.js";
import { packedModel } from "./package/packed-model.js";
import { blocksAreTuned, compressBlocks } from "./pipeline/compress-blocks.js";
import { asJson, type RunContext } from "./pipeline/context.js";
import { distilStep } from "./pipeline/distil-step.js";
import { StageTable } from "./pipeline/stages.js";
import type { LossAllocation } from "./plan/plan.js";
import { planToFile } from "./plan/plan-file.js";
import { planModel } from "./plan/plan-model.js";
import { allocateRun, allocatesByLoss, type Calibration, calibrateRun } from "./run/calibrated-plan.js";
import { describeRun, warningsOf } from "./run/describe.js";
import { openRun, type Prepared, prepareRun } from "./run/open-run.js";
import { type EndsState, type ModelState, readDenseBlock } from "./student/model-state.js";
import { statePerplexity } from "./student/perplexity.js";
import { verifyPacked } from "./verify/verify.js";

/** Tokens of the first calibration window that runtime and engine are compared on. */
const VERIFY_TOKENS = 64;

/**
 * Compresses `options.model` into the folder `options.out`, whole or not at all. The same options give the same bytes;
 * a run that was stopped in any way goes on where it was when called again with the same options.
 *
 * Throws `input` for a text or budget that does not fit the model, `usage` for options that exclude one another or an
 * existing output, `resources` when memory or disk will not do (before anything is computed), `interrupted` when the
 * signal fires.
 */
export async function compress(options: CompressOptions): Promise<CompressResult> {
  const { out, overwrite = false, signal } = options;
  const plan = planModel(options.model, options);
  await checkTarget(out, { overwrite });
  const work = resolve(options.work ?? `${out}.work`);
  const prepared = await prepareRun(options, plan, work);
  const ledger = await Ledger.open(work, signal ? { signal } : {});
  let done = false;
  try {
    const result = await runStages(options, prepared, ledger);
    done = true;
    return result;
  } finally {
    await ledger.close();
    // A work folder of the caller's choosing is theirs; our own is of no more use once the output stands.
    if (done && options.work === undefined) await ledger.destroy();
  }
}

async function runStages(
  options: CompressOptions,
  prepared: Prepared,
  ledger: Ledger,
): Promise<CompressResult> {
  const { model, signal, evaluation } = options;
  const started = performance.now();
  const cpu = process.cpuUsage();
  const opened = await openRun(options, prepared, ledger);
  const { teacherSha256, windowsHash } = opened;
  const { compile, windows, onProgress } = opened.context;
  const measured = evaluation && firstWindows(evaluation, evaluation.seqlen, evaluation.windows);
  const stages = new StageTable();
  try {
    const teacherPerplexity = measured && (await perplexityOfTeacher(opened.context, measured));
    const calibration = await stages.run(
      "calibrate",
      () => calibrateRun(opened.context),
      ({ tokens }) => ({ tokens }),
    );
    const context = await withRanks(options, opened.context, calibration, stages);
    const { plan } = context;
    const recipe = describeRun(options, context, windowsHash);
    await ledger.note("run.json", { teacherSha256, recipe: asJson(recipe), plan: asJson(plan.totals) });
    await ledger.note("plan.json", asJson(planToFile(plan)));
    const state = await train(options, context, calibration, stages, measured);
    const info = { writtenBy: options.writtenBy ?? "subbit", recipe, teacherSha256 };
    const packed = packedModel(model, plan, state, info);
    const findings: { verify?: NonNullable<CompressResult["verify"]>; quality?: Record<string, unknown> } =
      {};
    const written = await stages.run(
      "package",
      () =>
        writeSubbit(options.out, packed, {
          overwrite: options.overwrite ?? false,
          texts: options.sideTexts ?? new Map<string, string>(),
          finish: async (folder) => {
            const { runtimeLogits, measure } = options;
            const ids = windows.ids.subarray(0, Math.min(VERIFY_TOKENS, windows.seqlen));
            if (runtimeLogits) findings.verify = await verifyPacked(folder, ids, runtimeLogits, compile);
            if (measure) findings.quality = await measure(folder);
            const card = modelCard({
              ...info,
              // The folder's own name: a card must not tell where the teacher lay on somebody's disk.
              teacher: basename(model.checkpoint.name),
              plan,
              fileBytes: plan.totals.fileBytes,
              ...(findings.quality && { quality: findings.quality }),
            });
            return { card, ...(findings.quality && { quality: findings.quality }) };
          },
          onProgress,
          ...(signal && { signal }),
        }),
      () => ({}),
    );
    const { user, system } = process.cpuUsage(cpu);
    return {
      out: options.out,
      bpw: plan.totals.bpw,
      paperBpw: plan.totals.paperBpw,
      fileBytes: written.fileBytes,
      seconds: (performance.now() - started) / 1000,
      cpuSeconds: (user + system) / 1e6,
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
      plan,
      stages: stages.rows,
      ...(teacherPerplexity !== undefined && { teacherPerplexity }),
      ...findings,
      warnings: warningsOf(options, context),
    };
  } finally {
    await opened.context.programs.dispose();
  }
}

/** The context with ranks by predicted loss, where they are asked for. */
async function withRanks(
  options: CompressOptions,
  context: RunContext,
  calibration: Calibration,
  stages: StageTable,
): Promise<RunContext> {
  if (!allocatesByLoss(options, context.plan)) return context;
  const plan = await stages.run(
    "allocate",
    () => allocateRun(context, calibration, options),
    ({ allocation }) => {
      const { predictedUniform, predicted } = allocation as LossAllocation;
      return { lossBefore: predictedUniform, lossAfter: predicted };
    },
  );
  return { ...context, plan };
}

/** Blocks and distillation; the trained student. */
async function train(
  options: CompressOptions,
  context: RunContext,
  { moments, key }: Calibration,
  stages: StageTable,
  measured: Windows | undefined,
): Promise<ModelState> {
  const { tune } = context;
  const perplexity = async (state: ModelState) =>
    measured ? { perplexity: await perplexityOf(context, state, measured, "evaluate student") } : {};
  if (context.reportInit && measured && blocksAreTuned(context)) {
    await stages.run(
      "factorise",
      () => compressBlocks(context, moments, key, false),
      ({ blocks: made }) => perplexity({ blocks: made, ends: context.studentEnds }),
    );
  }
  const blocks = await stages.run(
    "blocks",
    () => compressBlocks(context, moments, key),
    async ({ blocks: made, lossBefore, lossAfter }) => ({
      ...(lossBefore !== undefined && { lossBefore }),
      ...(lossAfter !== undefined && { lossAfter }),
      ...(await perplexity({ blocks: made, ends: context.studentEnds })),
    }),
  );
  if (tune === "none" || tune === "blocks") return { blocks: blocks.blocks, ends: context.studentEnds };
  const distilled = await stages.run(
    tune,
    () => distilStep(context, tune, blocks.blocks, blocks.keys, options.trainTokens),
    async ({ state, summary: { lossBefore, lossAfter, tokens } }) => ({
      lossBefore,
      lossAfter,
      tokens,
      ...(await perplexity(state)),
    }),
  );
  return distilled.state;
}

async function perplexityOfTeacher(context: RunContext, windows: Windows): Promise<number> {
  const { model, spec } = context;
  const blocks = [];
  for (let layer = 0; layer < spec.layers; layer++) blocks.push(await readDenseBlock(model, layer));
  const ends: EndsState = context.teacherEnds;
  return perplexityOf(context, { blocks, ends }, windows, "evaluate teacher");
}

async function perplexityOf(
  context: RunContext,
  state: ModelState,
  windows: Windows,
  stage: string,
): Promise<number> {
  const { spec, compile, onProgress, signal } = context;
  const options = { ...compile, stage, onProgress, ...(signal && { signal }) };
  return (await statePerplexity(spec, state, windows, options)).perplexity;
}
