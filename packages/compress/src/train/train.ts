/**
 * `train`: quantization-aware training of a packed model by distillation from its dense teacher. The student's signs
 * become latents, its scales and norms move with them, and the result is packed in the very forms it had.
 */
import { basename, resolve } from "node:path";
import { inspectModel, type ModelReport } from "@subbit/core";
import { checkTarget, writeSubbit } from "@subbit/core/node";
import { Ledger } from "../ledger/ledger.js";
import { trainedCard } from "../package/trained-card.js";
import { asJson } from "../pipeline/context.js";
import { checkResources } from "../pipeline/resources.js";
import { DEFAULT_MEMORY_LIMIT } from "../run/open-run.js";
import { openPacked, verifyPacked } from "../verify/verify.js";
import { checkModels, checkWindows } from "./check-models.js";
import {
  evaluationWindows,
  openTraining,
  type TrainContext,
  type TrainLength,
  trainLength,
} from "./context.js";
import { describeTraining, warningsOf } from "./describe.js";
import type { TrainOptions, TrainResult } from "./options.js";
import { estimateTraining, type TrainingUse } from "./resources.js";
import { type TrainedStudent, trainStep } from "./train-step.js";
import { trainedModel } from "./trained-model.js";

/** Tokens of the first window that runtime and engine are compared on. */
const VERIFY_TOKENS = 64;

/**
 * Trains `options.student` into the folder `options.out`, whole or not at all. The same options give the same bytes; a
 * run that was stopped in any way goes on where it was when called again with the same options.
 *
 * Throws `input` when student, teacher and data do not fit together or the training diverges, `usage` for an existing
 * output, `resources` when memory or disk will not do (before anything is computed), `interrupted` when the signal fires.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { student, teacher, data, out, overwrite = false, signal } = options;
  const { memoryLimit = DEFAULT_MEMORY_LIMIT } = options;
  checkModels(student, teacher);
  checkWindows(data, student.spec);
  evaluationWindows(options);
  await checkTarget(out, { overwrite });
  const work = resolve(options.work ?? `${out}.work`);
  const use = estimateTraining(options, memoryLimit);
  await checkResources(use, memoryLimit, work, "or take shorter windows or a smaller --batch");
  const ledger = await Ledger.open(work, signal ? { signal } : {});
  let done = false;
  try {
    const result = await run(options, trainLength(options), use, ledger);
    done = true;
    return result;
  } finally {
    await ledger.close();
    // A work folder of the caller's choosing is theirs; our own is of no more use once the output stands.
    if (done && options.work === undefined) await ledger.destroy();
  }
}

async function run(
  options: TrainOptions,
  length: TrainLength,
  use: TrainingUse,
  ledger: Ledger,
): Promise<TrainResult> {
  const started = performance.now();
  const cpu = process.cpuUsage();
  const context = await openTraining(options, length, use, ledger);
  const { studentSha256, teacherSha256, steps } = context;
  await ledger.note(
    "run.json",
    asJson({ studentSha256, teacherSha256, ...describeTraining(options, context) }),
  );
  const trained = await trainStep(context, options);
  const { summary } = trained;
  const written = await packageTrained(options, context, trained);
  const { user, system } = process.cpuUsage(cpu);
  return {
    out: options.out,
    steps,
    tokens: steps * context.tokensPerStep,
    ...summary,
    ...written,
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: (user + system) / 1e6,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    warnings: warningsOf(options, context, summary),
  };
}

async function packageTrained(
  options: TrainOptions,
  context: TrainContext,
  { state, summary }: TrainedStudent,
): Promise<Pick<TrainResult, "bpw" | "paperBpw" | "fileBytes" | "verify" | "quality">> {
  const { student, teacher, signal, runtimeLogits, measure } = options;
  const { teacherSha256, windows, steps, tokensPerStep, onProgress, compile } = context;
  const recipe = { ...describeTraining(options, context), kept: summary.keptStep };
  const info = { writtenBy: options.writtenBy ?? "subbit", recipe, teacherSha256 };
  const findings: Pick<TrainResult, "verify" | "quality"> = {};
  await writeSubbit(options.out, trainedModel(student, state, info), {
    overwrite: options.overwrite ?? false,
    texts: options.sideTexts ?? new Map<string, string>(),
    finish: async (folder) => {
      const ids = windows.ids.subarray(0, Math.min(VERIFY_TOKENS, windows.seqlen));
      const verify = runtimeLogits && (await verifyPacked(folder, ids, runtimeLogits, compile));
      const quality = await measure?.(folder);
      Object.assign(findings, { ...(verify && { verify }), ...(quality && { quality }) });
      const card = trainedCard({
        ...info,
        // The folders' own names: a card must not tell where they lay on somebody's disk.
        teacher: basename(teacher.checkpoint.name),
        parent: basename(student.checkpoint.name),
        parentSha256: context.studentSha256,
        report: await reportOf(folder),
        tokens: steps * tokensPerStep,
        steps,
        ...(quality && { quality }),
      });
      return { card, ...(quality && { quality }) };
    },
    onProgress,
    ...(signal && { signal }),
  });
  const { bpw, paperBpw, fileBytes } = await reportOf(options.out);
  return { ...findings, bpw, paperBpw, fileBytes };
}

async function reportOf(folder: string): Promise<ModelReport> {
  const packed = await openPacked(folder);
  try {
    return inspectModel(packed);
  } finally {
    await packed.close();
  }
}
