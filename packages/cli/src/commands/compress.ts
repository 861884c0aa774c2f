/** `subbit compress`: a dense checkpoint in, a packed model and what it cost out. */
import { existsSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import { inputError, openTokenizer, SubbitError, type Corpus, type Model } from "@subbit/core";
import { readCorpus } from "@subbit/core/node";
import type { CompressOptions, Preset, TuneLevel } from "@subbit/compress";
import { Option, type Command } from "commander";
import { compressionCallbacks } from "../compression-callbacks.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { sizesOf } from "../model-sizes.js";
import { withModel } from "../open-source.js";
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
import { addSizeOptions, planOptions, type SizeOptions } from "../options/size.js";
import { addTextOptions, checkSeqlen, corpusOptions, type TextOptions } from "../options/text.js";
import { assertWritable } from "../output-paths.js";
import { describePlan } from "../reports/plan-report.js";
import { compressJson, describeCompress } from "../reports/compress-report.js";
import { resolveSource } from "../sources.js";
import { teacherFiles } from "../teacher-files.js";
import { VERSION } from "../version.js";

interface CompressCommandOptions
  extends CommonOptions, SizeOptions, TextOptions, ThreadOptions, SeedOptions, OverwriteOptions {
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
    .option("--dry-run", "print the plan and write nothing")
    .option("--memory-limit <bytes>", "memory to stay under, such as 3GiB", byteSize);
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
  const path = resolveSource(source);
  if (options.dryRun !== true) assertOut(path, out, options.overwrite === true);
  const { compress, planModel } = await import("@subbit/compress");
  return withModel(context, source, async (model) => {
    if (model.manifest !== undefined) {
      throw inputError(`${source} is packed already; give the dense model that it was made from.`);
    }
    if (options.dryRun === true) {
      const plan = planModel(model, planOptions(options));
      return { json: { ...plan, out }, text: describePlan(plan) };
    }
    const seqlen = options.seqlen ?? Math.min(DEFAULT_SEQLEN, model.spec.maxPositions);
    checkSeqlen(seqlen, model.spec, source);
    // A budget that cannot be met is said before any text is read.
    planModel(model, planOptions(options));
    const tokenizer = await openTokenizer(model.checkpoint);
    const read = (file: string): Promise<Corpus> => readCorpus(file, tokenizer, corpusOptions(options));
    const calibration = await read(calibrationPath(path, options.calibration));
    const evaluation = options.evalText === undefined ? undefined : await read(options.evalText);
    const text = evaluation && { ids: evaluation.ids, seqlen, windows: options.evalWindows };
    const result = await compress({
      ...compressionCallbacks(context, model, { threads: options.threads, text }),
      ...libraryOptions(model, out, options),
      seqlen,
      ...(await teacherFiles(context, path, model)),
      calibration: { ids: calibration.ids, name: calibration.description },
      ...(text && { evaluation: { ...text, name: evaluation.description } }),
    });
    for (const warning of result.warnings) context.warn(warning);
    return { json: compressJson(result), text: describeCompress(result, sizesOf(model).bpw) };
  });
}

function libraryOptions(
  model: Model,
  out: string,
  options: CompressCommandOptions,
): Omit<CompressOptions, "calibration" | "seqlen"> {
  const { samples, tune, preset, trainTokens, work, memoryLimit, threads, seed, device } = options;
  return {
    ...planOptions(options),
    model,
    out,
    overwrite: options.overwrite === true,
    samples,
    tune,
    preset,
    seed,
    device: device === "auto" ? "cpu" : device,
    writtenBy: `subbit ${VERSION}`,
    ...(trainTokens !== undefined && { trainTokens }),
    ...(work !== undefined && { work }),
    ...(memoryLimit !== undefined && { memoryLimit }),
    ...(threads !== undefined && { threads }),
  };
}

/** Refused before any work: an existing output, and one that would replace the source or what holds it. */
function assertOut(sourcePath: string, out: string, overwrite: boolean): void {
  assertWritable(out, overwrite);
  const target = resolve(out);
  if (sourcePath === target || sourcePath.startsWith(target + sep)) {
    throw new SubbitError(
      "usage",
      `${out} would replace the source or a folder that holds it; give another name.`,
    );
  }
}

function calibrationPath(sourcePath: string, given: string | undefined): string {
  if (given !== undefined) return given;
  const beside = join(sourcePath, CALIBRATION_FILE);
  if (existsSync(beside)) return beside;
  throw new SubbitError(
    "usage",
    `${sourcePath} has no ${CALIBRATION_FILE} beside its weights; give --calibration FILE, a text like those the model is for.`,
  );
}
