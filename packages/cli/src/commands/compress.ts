/** `subbit compress`: a dense checkpoint in, a packed model and what it cost out. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inputError, isPacked, openTokenizer, SubbitError, type Corpus, type Model } from "@subbit/core";
import { readCorpus } from "@subbit/core/node";
import { isRemoteSource } from "@subbit/hub";
import type { CompressOptions, CompressResult, Plan, PlanOptions, RecipeOverrides } from "@subbit/compress";
import type { Preset, TuneLevel } from "@subbit/compress/choices";
import { Option, type Command } from "commander";
import { compressionCallbacks } from "../compression-callbacks.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { sizesOf } from "../model-sizes.js";
import { withModel, type OpenedSource } from "../open-source.js";
import {
  commandOf,
  examples,
  overwriteOption,
  seedOption,
  threadsOption,
  type OverwriteOptions,
  type SeedOptions,
  type ThreadOptions,
} from "../options/common.js";
import { byteSize, integer } from "../options/parse.js";
import { addRecipeOptions, recipeOverrides, type RecipeOptions } from "../options/recipe.js";
import { addSizeOptions, planOptions, type SizeOptions } from "../options/size.js";
import { addTextOptions, checkSeqlen, corpusOptions, type TextOptions } from "../options/text.js";
import {
  addTrainingOptions,
  trainingFlag,
  trainingRecipe,
  type TrainingOptions,
} from "../options/training.js";
import { assertOut, assertWritable, writeWhole } from "../output-paths.js";
import { describePlan } from "../reports/plan-report.js";
import { compressJson, describeCompress } from "../reports/compress-report.js";
import { pathOf } from "../sources.js";
import { teacherFiles } from "../teacher-files.js";
import { VERSION } from "../version.js";

interface CompressCommandOptions
  extends
    CommonOptions,
    SizeOptions,
    RecipeOptions,
    TrainingOptions,
    TextOptions,
    ThreadOptions,
    SeedOptions,
    OverwriteOptions {
  readonly calibration?: string;
  readonly samples: number;
  readonly seqlen?: number;
  readonly tune: TuneLevel;
  readonly trainTokens?: number;
  readonly preset: Preset;
  readonly evalText?: string;
  readonly evalWindows: number;
  readonly work?: string;
  readonly dryRun?: boolean;
  readonly stream?: boolean;
  readonly planOut?: string;
  readonly report?: string;
  readonly reportInit?: boolean;
  readonly memoryLimit?: number;
  readonly device: string;
}

const DEFAULT_SEQLEN = 512;
/** The calibration text that shipped models have beside their weights. */
const CALIBRATION_FILE = "calibration.txt";

export function addCompress(program: Command): void {
  const command = addSizeOptions(
    commandOf(program, "compress <source> <out>", "compress a model below one bit per weight"),
  )
    .option(
      "--calibration <file>",
      `text that the model is fitted on (default: ${CALIBRATION_FILE} beside the source)`,
    )
    .option("--samples <n>", "calibration windows", integer({ min: 1 }), 128)
    .option(
      "--seqlen <n>",
      `tokens of a window (default: ${DEFAULT_SEQLEN}, or the model's context if shorter)`,
      integer({ min: 2 }),
    )
    .addOption(
      new Option(
        "--tune <level>",
        "none; blocks: each block against the dense one; scales: and distillation of all scales; full: and of everything",
      )
        .choices(["none", "blocks", "scales", "full"])
        .default("full"),
    )
    .option(
      "--train-tokens <n>",
      "tokens of the distillation (default: the preset's passes over the calibration)",
      integer({ min: 1 }),
    )
    .addOption(
      new Option("--preset <preset>", "training budget").choices(["default", "demo"]).default("default"),
    )
    .option("--eval-text <file>", "text to measure teacher and result on")
    .option("--eval-windows <n>", "at most so many windows of it", integer({ min: 1 }), 40)
    .option(
      "--work <dir>",
      "run ledger; the same command resumes from it (default: OUT.work, removed at the end)",
    )
    .option(
      "--dry-run",
      "print the plan and write nothing; with --allocate loss and a calibration text this measures first",
    )
    .option(
      "--stream",
      "read a remote source by ranges instead of downloading it first: slower, needs no disk for it",
    )
    .option("--plan-out <file>", "write the plan, to be edited and given to --plan")
    .option("--report <file>", "write one HTML file with tables and plots")
    .option("--report-init", "measure the model as factorised too, before any tuning (takes a while)")
    .option("--memory-limit <bytes>", "memory to stay under, such as 3GiB", byteSize);
  addRecipeOptions(command);
  addTrainingOptions(command);
  addTextOptions(command)
    .addOption(threadsOption())
    .addOption(seedOption())
    .addOption(
      new Option("--device <device>", "where training runs")
        .choices(["auto", "cpu", "cuda", "webgpu"])
        .default("auto"),
    )
    .addOption(overwriteOption())
    .addHelpText(
      "after",
      examples(
        "subbit compress stories-11m packed --bpw 0.8 --eval-text models/stories-11m/evaluation.txt",
        "subbit compress MODEL_FOLDER packed --bpw 0.55 --calibration text.txt --embed-bits 8",
        "subbit compress model.gguf packed --bytes 30MB --dry-run",
        "subbit compress hf:HuggingFaceTB/SmolLM2-135M packed --bpw 0.8 --calibration text.txt",
        "subbit compress MODEL_FOLDER packed --bpw 0.8 --calibration text.txt --allocate loss --report report.html",
        "subbit compress MODEL_FOLDER packed --method littlebit --bpw 0.8 --calibration text.txt --recipe littlebit",
      ),
    )
    .action((source: string, out: string, options: CompressCommandOptions) =>
      execute(options, (context) => compressCommand(context, source, out, options)),
    );
}

async function compressCommand(
  context: Context,
  source: string,
  out: string,
  options: CompressCommandOptions,
): Promise<CommandResult> {
  const remote = isRemoteSource(source);
  const overwrite = options.overwrite === true;
  if (options.stream === true && !remote) {
    throw new SubbitError("usage", `--stream is for remote sources, and ${source} is none; leave it out.`);
  }
  const stream = remote && (options.stream === true || options.dryRun === true);
  if (options.dryRun !== true) assertOut(pathOf(source), out, overwrite);
  for (const file of [options.planOut, options.report])
    if (file !== undefined) assertWritable(file, overwrite);
  const sizes = await planOptions(options);
  const recipe = await recipeOf(options);
  const { compress, planModel } = await import("@subbit/compress");
  const body = async (model: Model, opened: OpenedSource): Promise<CommandResult> => {
    const { path } = opened;
    if (isPacked(model)) {
      throw inputError(`${source} is packed already; give the dense model that it was made from.`);
    }
    // A budget that cannot be met is said before any text is read.
    const uniform = planModel(model, sizes);
    const inputs = { context, source, path, out, model, options, sizes, recipe };
    if (options.dryRun === true) return dryRun(inputs, uniform);
    const calibrationFile = calibrationPath(source, path, options.calibration);
    const { seqlen, calibration, read } = await openTexts(inputs, calibrationFile);
    const evaluation = options.evalText === undefined ? undefined : await read(options.evalText);
    const text = evaluation && { ids: evaluation.ids, seqlen, windows: options.evalWindows };
    const result = await compress({
      ...compressionCallbacks(context, model, { threads: options.threads, text }),
      ...libraryOptions(inputs),
      seqlen,
      ...(await teacherFiles(context, opened, model)),
      calibration,
      ...(text && { evaluation: { ...text, name: evaluation.description } }),
    });
    for (const warning of result.warnings) context.warn(warning);
    await writeExtras(inputs, result.plan, result);
    return { json: compressJson(result), text: describeCompress(result, sizesOf(model).bpw) };
  };
  return withModel(context, source, body, { stream });
}

interface Inputs {
  readonly context: Context;
  readonly source: string;
  /** Absent for what is read over the network. */
  readonly path: string | undefined;
  readonly out: string;
  readonly model: Model;
  readonly options: CompressCommandOptions;
  readonly sizes: PlanOptions;
  readonly recipe: RecipeOverrides;
}

/** Hyperparameters of all stages; those of training go with the level that has them only. */
async function recipeOf(options: CompressCommandOptions): Promise<RecipeOverrides> {
  const flag = trainingFlag(options);
  if (flag === undefined) return recipeOverrides(options);
  if (options.tune !== "full") {
    throw new SubbitError(
      "usage",
      `${flag} is of whole-model training, but --tune ${options.tune} was asked for; use --tune full.`,
    );
  }
  return { ...recipeOverrides(options), full: (await trainingRecipe(options)).recipe };
}

/** The plan; by predicted loss only where there is a text to measure on. */
async function dryRun(inputs: Inputs, uniform: Plan): Promise<CommandResult> {
  const { context, path, options, sizes } = inputs;
  const { allocatesByLoss, planCompression } = await import("@subbit/compress");
  const text = options.calibration ?? calibrationBeside(path);
  let plan = uniform;
  const warnings: string[] = [];
  if (allocatesByLoss(sizes, uniform)) {
    if (text === undefined) {
      warnings.push(
        "This is the uniform plan: ranks by loss are measured on a calibration text, and there is none; give --calibration FILE.",
      );
    } else {
      const { seqlen, calibration } = await openTexts(inputs, text);
      const { signal, onProgress } = context;
      plan = await planCompression({ ...libraryOptions(inputs), seqlen, calibration, signal, onProgress });
    }
  }
  for (const warning of warnings) context.warn(warning);
  await writeExtras(inputs, plan, undefined);
  return { json: { ...plan, out: inputs.out, warnings }, text: describePlan(plan) };
}

async function openTexts({ context, model, source, options }: Inputs, calibrationFile: string) {
  const seqlen = options.seqlen ?? Math.min(DEFAULT_SEQLEN, model.spec.maxPositions);
  checkSeqlen(seqlen, model.spec, source);
  const tokenizer = await openTokenizer(model.checkpoint);
  const read = (file: string): Promise<Corpus> =>
    readCorpus(file, tokenizer, corpusOptions(options, context));
  const { ids, description } = await read(calibrationFile);
  return { seqlen, read, calibration: { ids, name: description } };
}

/** The files beside the output: the plan and the report. */
async function writeExtras(
  { options, source }: Inputs,
  plan: Plan,
  result: CompressResult | undefined,
): Promise<void> {
  const { planOut, report } = options;
  if (planOut !== undefined) {
    const { planToFile } = await import("@subbit/compress");
    await writeWhole(planOut, (file) => writeFile(file, `${JSON.stringify(planToFile(plan), null, 2)}\n`));
  }
  if (report !== undefined) {
    const { htmlReport } = await import("../reports/html-report.js");
    const html = await htmlReport({ title: source, plan, ...(result && { result }) });
    await writeWhole(report, (file) => writeFile(file, html));
  }
}

function libraryOptions({
  model,
  out,
  options,
  sizes,
  recipe,
}: Inputs): Omit<CompressOptions, "calibration" | "seqlen"> {
  const { samples, tune, preset, trainTokens, work, memoryLimit, threads, seed, device } = options;
  return {
    ...sizes,
    model,
    out,
    overwrite: options.overwrite === true,
    samples,
    tune,
    preset,
    seed,
    recipe,
    device: device === "auto" ? "cpu" : device,
    writtenBy: `subbit ${VERSION}`,
    ...(trainTokens !== undefined && { trainTokens }),
    ...(work !== undefined && { work }),
    ...(memoryLimit !== undefined && { memoryLimit }),
    ...(threads !== undefined && { threads }),
    ...(options.reportInit === true && { reportInit: true }),
  };
}

/** Refused before any work: an existing output, and one that would replace the source or what holds it. */
function calibrationPath(source: string, sourcePath: string | undefined, given: string | undefined): string {
  const found = given ?? calibrationBeside(sourcePath);
  if (found !== undefined) return found;
  throw new SubbitError(
    "usage",
    `${source} has no ${CALIBRATION_FILE} beside its weights; give --calibration FILE, a text like those the model is for.`,
  );
}

function calibrationBeside(sourcePath: string | undefined): string | undefined {
  if (sourcePath === undefined) return undefined;
  const beside = join(sourcePath, CALIBRATION_FILE);
  return existsSync(beside) ? beside : undefined;
}
