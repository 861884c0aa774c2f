/**
 * `compress`: from a dense teacher and a text to a packed model. Plan, calibrate, factorise and tune block by block,
 * distil the whole, package, verify; every stage but the first and last is made of ledger steps.
 */
import { availableParallelism } from "node:os";
import { basename, resolve } from "node:path";
import type { OnProgress } from "@subbit/core";
import { checkTarget, writeSubbit } from "@subbit/core/node";
import { BlockPrograms, type CompileOptions } from "@subbit/engine";
import { calibrate, momentsFromArtefact, momentsToArtefact } from "./calibrate/calibrate.js";
import { drawWindows, firstWindows, type Windows } from "./calibrate/windows.js";
import { sha256 } from "./ledger/canonical.js";
import { Ledger } from "./ledger/ledger.js";
import type { CompressOptions, CompressResult } from "./options.js";
import { modelCard } from "./package/card.js";
import { packedModel } from "./package/packed-model.js";
import { blocksAreTuned, compressBlocks } from "./pipeline/compress-blocks.js";
import { asJson, type RunContext, someWindows } from "./pipeline/context.js";
import { distilStep } from "./pipeline/distil-step.js";
import { bytesOf, checkpointHash } from "./pipeline/fingerprint.js";
import { checkResources, estimateResources } from "./pipeline/resources.js";
import { StageTable } from "./pipeline/stages.js";
import { makeStudentEnds } from "./pipeline/student-ends.js";
import { planModel } from "./plan/plan-model.js";
import { recipeOf } from "./recipe.js";
import { type EndsState, type ModelState, readDenseBlock, readEnds } from "./student/model-state.js";
import { statePerplexity } from "./student/perplexity.js";
import { TeacherBlocks } from "./student/teacher-blocks.js";
import { verifyPacked } from "./verify/verify.js";

const CALIBRATE_VERSION = 1;
/** Tokens of the first calibration window that runtime and engine are compared on. */
const VERIFY_TOKENS = 64;
export const DEFAULT_SAMPLES = 128;
export const DEFAULT_SEQLEN = 512;
const DEFAULT_SNAPSHOT_SECONDS = 60;
export const DEFAULT_MEMORY_LIMIT = 3 * 2 ** 30;

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
  const run = await prepare(options, work);
  const ledger = await Ledger.open(work, signal ? { signal } : {});
  let done = false;
  try {
    const result = await runStages(options, { ...run, plan }, ledger);
    done = true;
    return result;
  } finally {
    await ledger.close();
    // A work folder of the caller's choosing is theirs; our own is of no more use once the output stands.
    if (done && options.work === undefined) await ledger.destroy();
  }

  async function prepare(given: CompressOptions, folder: string) {
    const { model, tune = "full", seed = 0, memoryLimit = DEFAULT_MEMORY_LIMIT } = given;
    const recipe = recipeOf(given.preset ?? "default", given.recipe, plan.schedule);
    const windows = drawWindows(given.calibration, {
      samples: given.samples ?? DEFAULT_SAMPLES,
      seqlen: given.seqlen ?? DEFAULT_SEQLEN,
      seed,
      vocabSize: model.spec.vocabSize,
    });
    const batch = Math.max(4, recipe.blocks.batch, recipe.full.batch);
    const use = estimateResources(model.spec, plan, windows, tune, batch, memoryLimit);
    await checkResources(use, memoryLimit, folder);
    return { recipe, windows, tune, seed, use };
  }
}

type Prepared = Pick<RunContext, "recipe" | "windows" | "tune" | "seed" | "plan"> & {
  readonly use: { readonly keepTeacher: boolean; readonly hiddenInMemory: boolean };
};

async function runStages(
  options: CompressOptions,
  prepared: Prepared,
  ledger: Ledger,
): Promise<CompressResult> {
  const { model, signal, evaluation } = options;
  const { plan, windows, use } = prepared;
  const started = performance.now();
  const cpu = process.cpuUsage();
  const onProgress: OnProgress = options.onProgress ?? (() => {});
  const compile: CompileOptions = {
    threads: options.threads ?? availableParallelism(),
    // Threads that wait by spinning double the CPU time and starve whatever else the machine does.
    spin: false,
    ...(options.device !== undefined && { device: options.device as NonNullable<CompileOptions["device"]> }),
  };
  const teacherSha256 = options.teacherSha256 ?? (await checkpointHash(model.checkpoint, signal));
  const windowsHash = sha256(bytesOf(windows.ids));
  const teacherEnds = await readEnds(model);
  const root = sha256(JSON.stringify([teacherSha256, windowsHash, windows.seqlen, compile]));
  const given = { ...prepared, model, ledger, teacherEnds, root, onProgress };
  const context: RunContext = {
    ...given,
    ...(await makeStudentEnds(given)),
    spec: model.spec,
    teacher: new TeacherBlocks(model, use.keepTeacher),
    compile,
    programs: new BlockPrograms(model.spec, compile),
    reportInit: options.reportInit ?? false,
    hiddenInMemory: use.hiddenInMemory,
    snapshotSeconds: options.snapshotSeconds ?? DEFAULT_SNAPSHOT_SECONDS,
    ...(signal && { signal }),
  };
  const recipe = describe(options, context, windowsHash);
  await ledger.note("run.json", { teacherSha256, recipe: asJson(recipe), plan: asJson(plan.totals) });
  const measured = evaluation && firstWindows(evaluation, evaluation.seqlen, evaluation.windows);
  const stages = new StageTable();
  try {
    const teacherPerplexity = measured && (await perplexityOfTeacher(context, measured));
    const state = await train(options, context, stages, measured);
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
      warnings: warningsOf(options, windows),
    };
  } finally {
    await context.programs.dispose();
  }
}

/** Calibration, blocks and distillation; the trained student. */
async function train(
  options: CompressOptions,
  context: RunContext,
  stages: StageTable,
  measured: Windows | undefined,
): Promise<ModelState> {
  const { model, ledger, windows, tune, compile, root, onProgress, signal } = context;
  const perplexity = async (state: ModelState) =>
    measured ? { perplexity: await perplexityOf(context, state, measured, "evaluate student") } : {};
  const some = someWindows(windows, context.recipe.calibrate.windows);
  const calibration = await stages.run(
    "calibrate",
    () =>
      ledger.step(
        { name: "calibrate", version: CALIBRATE_VERSION, params: { windows: some.count }, inputs: [root] },
        async () => {
          const { teacher, teacherEnds } = context;
          const moments = await calibrate(model, teacher, teacherEnds, some, {
            ...compile,
            onWindows: (done) => onProgress({ stage: "calibrate", done, total: some.count, unit: "windows" }),
            ...(signal && { signal }),
          });
          return momentsToArtefact(moments);
        },
      ),
    () => ({ tokens: some.count * some.seqlen }),
  );
  const moments = momentsFromArtefact(calibration.artefact);
  if (context.reportInit && measured && blocksAreTuned(context)) {
    await stages.run(
      "factorise",
      () => compressBlocks(context, moments, calibration.key, false),
      ({ blocks: made }) => perplexity({ blocks: made, ends: context.studentEnds }),
    );
  }
  const blocks = await stages.run(
    "blocks",
    () => compressBlocks(context, moments, calibration.key),
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

/** What stands in the manifest as the recipe: enough to make the model again. */
function describe(
  options: CompressOptions,
  context: RunContext,
  windowsHash: string,
): Record<string, unknown> {
  const { plan, tune, windows, seed, recipe, compile } = context;
  return {
    method: plan.method,
    init: plan.init,
    bpw: plan.targetBpw,
    bitsFormula: plan.bitsFormula,
    embedBits: plan.embedBits,
    tune,
    ...(options.trainTokens !== undefined && { trainTokens: options.trainTokens }),
    calibration: {
      text: options.calibration.name,
      windows: windows.count,
      seqlen: windows.seqlen,
      sha256: windowsHash,
    },
    seed,
    threads: compile.threads,
    hyperparameters: recipe,
  };
}

function warningsOf(options: CompressOptions, windows: Windows): string[] {
  const asked = options.samples ?? DEFAULT_SAMPLES;
  if (windows.count >= asked) return [];
  return [
    `${options.calibration.name} fills only ${windows.count} windows of ${windows.seqlen} tokens, ${asked} were asked for.`,
  ];
}
