/** `subbit train`: a packed model and its dense teacher in, the model trained further and what it gained out. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { openTokenizer, SubbitError, type Corpus, type Model } from "@subbit/core";
import { readCorpus } from "@subbit/core/node";
import type {
  DistilRecipe,
  TrainOptions as LibraryOptions,
  TrainRecipeName,
  TrainResult,
} from "@subbit/compress";
import { Option, type Command } from "commander";
import { compressionCallbacks } from "../compression-callbacks.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { withModel, type ModelOrigin } from "../open-source.js";
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
import { addDataOption, type DataOptions, type DataSource } from "../options/data.js";
import { byteSize, integer, number } from "../options/parse.js";
import { addTextOptions, checkSeqlen, corpusOptions, type TextOptions } from "../options/text.js";
import { addTrainingOptions, trainingRecipe, type TrainingOptions } from "../options/training.js";
import { assertOut, assertWritable, writeWhole } from "../output-paths.js";
import { toPrecision } from "../output/format.js";
import { describeTrain, trainJson } from "../reports/train-report.js";
import { pathOf } from "../sources.js";
import { sideTexts, weightsHash } from "../teacher-files.js";
import { readTrainingData } from "../training/data-sources.js";
import { textByTeacher } from "../training/self-teacher.js";
import { TensorBoardLog } from "../training/tensorboard.js";
import { type LogLine, stepLine, TrainLog } from "../training/train-log.js";
import { VERSION } from "../version.js";

interface TrainCommandOptions
  extends
    CommonOptions,
    DataOptions,
    TrainingOptions,
    TextOptions,
    ThreadOptions,
    SeedOptions,
    OverwriteOptions {
  readonly teacher: string;
  readonly latentStart?: number;
  readonly tokens?: number;
  readonly seqlen?: number;
  readonly evalText?: string;
  readonly evalWindows: number;
  readonly evalEvery?: number;
  readonly checkpointMinutes: number;
  readonly work?: string;
  readonly log?: string;
  readonly tensorboard?: string;
  readonly report?: string;
  readonly memoryLimit?: number;
  readonly device: string;
}

const DEFAULT_SEQLEN = 512;
/** The text that shipped teachers have beside their weights. */
const CALIBRATION_FILE = "calibration.txt";
const LOG_FILE = "train.jsonl";

export function addTrain(program: Command): void {
  const command = commandOf(
    program,
    "train <source> <out>",
    "train a packed model further, by distillation from the dense model that it was made from",
  )
    .requiredOption("--teacher <source>", "the dense model that the packed one was made from")
    .option("--tokens <n>", "tokens to train on (default: one pass over the data)", integer({ min: 1 }))
    .option(
      "--seqlen <n>",
      `tokens of a window (default: ${DEFAULT_SEQLEN}, or the model's context if shorter)`,
      integer({ min: 2 }),
    )
    .option(
      "--eval-text <file>",
      "held-out text: the state that is best on it is kept, and measured at the end",
    )
    .option("--eval-windows <n>", "at most so many windows of it", integer({ min: 1 }), 40)
    .option(
      "--eval-every <n>",
      "steps between two evaluations (default: a tenth of the steps)",
      integer({ min: 1 }),
    )
    .option(
      "--checkpoint-minutes <x>",
      "minutes between snapshots: what a kill may cost",
      number({ above: 0, max: 100_000 }),
      1,
    )
    .option(
      "--work <dir>",
      "run ledger; the same command resumes from it (default: OUT.work, removed at the end)",
    )
    .option(
      "--log <file>",
      `one JSON line a step and an evaluation (default: ${LOG_FILE} in the work folder)`,
    )
    .option("--tensorboard <dir>", "write the curves as a TensorBoard event file, too")
    .option("--report <file>", "write one HTML file with the curves")
    .option("--memory-limit <bytes>", "memory to stay under, such as 3GiB", byteSize);
  addDataOption(command, `${CALIBRATION_FILE} beside the teacher`);
  addTrainingOptions(command).option(
    "--latent-start <x>",
    "magnitude that all latents start at: the smaller, the sooner signs flip (default: the recipe's)",
    number({ above: 0, max: 4 }),
  );
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
        "subbit train stories-11m-0.8bpw trained --teacher stories-11m --tokens 100000",
        "subbit train PACKED OUT --teacher MODEL_FOLDER --data text.jsonl --eval-text held-out.txt --work run --report report.html",
        "subbit train PACKED OUT --teacher MODEL_FOLDER --data text.txt --recipe littlebit --batch 2 --accumulate 2",
        "subbit train PACKED OUT --teacher MODEL_FOLDER --data web.parquet:3 --data code.jsonl.gz:1 --data self:200000:1 --tokens 5000000",
      ) + "\nA dense model is compressed and trained in one run by compress --tune full --recipe NAME.\n",
    )
    .action((source: string, out: string, options: TrainCommandOptions) =>
      execute(options, (context) => trainCommand(context, source, out, options)),
    );
}

async function trainCommand(
  context: Context,
  source: string,
  out: string,
  options: TrainCommandOptions,
): Promise<CommandResult> {
  const overwrite = options.overwrite === true;
  for (const one of [source, options.teacher]) assertOut(pathOf(one), out, overwrite);
  if (options.report !== undefined) assertWritable(options.report, overwrite);
  const { name, recipe } = await trainingRecipe(options);
  const log = new TrainLog(options.log ?? join(workFolder(options, out), LOG_FILE));
  const curves = options.tensorboard === undefined ? undefined : new TensorBoardLog(options.tensorboard);
  return withModel(context, source, (student) =>
    withModel(context, options.teacher, async (teacher, origin) => {
      const inputs = { context, source, out, options, student, teacher, origin, name, recipe };
      const result = await trainModels(inputs, log, curves);
      for (const warning of result.warnings) context.warn(warning);
      if (options.report !== undefined) await writeReport(options.report, inputs, log, result);
      return { json: trainJson(result, name), text: describeTrain(result, name) };
    }),
  );
}

interface Inputs {
  readonly context: Context;
  readonly source: string;
  readonly out: string;
  readonly options: TrainCommandOptions;
  readonly student: Model;
  readonly teacher: Model;
  /** Of the teacher. */
  readonly origin: ModelOrigin;
  readonly name: TrainRecipeName;
  readonly recipe: DistilRecipe;
}

async function trainModels(
  inputs: Inputs,
  log: TrainLog,
  curves: TensorBoardLog | undefined,
): Promise<TrainResult> {
  const { context, source, options, student, teacher, origin } = inputs;
  const { train, checkTrainModels } = await import("@subbit/compress");
  // Models that do not fit together are told before any text is read.
  checkTrainModels(student, teacher);
  const seqlen = options.seqlen ?? Math.min(DEFAULT_SEQLEN, student.spec.maxPositions);
  checkSeqlen(seqlen, student.spec, source);
  const tokenizer = await openTokenizer(student.checkpoint);
  const read = (file: string): Promise<Corpus> =>
    readCorpus(file, tokenizer, corpusOptions(options, context));
  const teacherSha256 = await weightsHash(context, origin, teacher);
  const data = await readTrainingData({
    sources: dataSources(options, origin.path),
    seqlen,
    tokens: wholeSteps(inputs, seqlen),
    seed: options.seed,
    read,
    writeSelf: (tokens) =>
      textByTeacher(context, {
        teacher,
        teacherSha256,
        tokenizer,
        tokens,
        seed: options.seed,
        threads: options.threads,
        // Kept for the runs that go on.
        file: join(workFolder(options, inputs.out), `self-${options.seed}.jsonl`),
      }),
  });
  const evaluation = options.evalText === undefined ? undefined : await read(options.evalText);
  const text = evaluation && { ids: evaluation.ids, seqlen, windows: options.evalWindows };
  const write = (line: LogLine): void => {
    log.write(line);
    curves?.write(line);
  };
  try {
    return await train({
      ...compressionCallbacks(context, teacher, { threads: options.threads, text }),
      ...libraryOptions(inputs),
      data: data.windows,
      dataNames: data.names,
      sideTexts: await sideTexts(student),
      teacherSha256,
      ...(text && { evaluation: { ...text, name: evaluation.description } }),
      onStart: (start) => {
        log.begin(start);
        curves?.begin(start);
        if (start.from > 0) context.note(`Going on after step ${start.from} of ${start.steps}.`);
      },
      onStep: (report) => write(stepLine(report)),
      onEvaluate: ({ step, value }) => {
        write({ step, perplexity: value });
        context.note(`step ${step}: perplexity ${toPrecision(value, 4)}`);
      },
    });
  } finally {
    log.close();
    curves?.close();
  }
}

function libraryOptions({
  student,
  teacher,
  out,
  options,
  name,
  recipe,
}: Inputs): Omit<LibraryOptions, "data"> {
  const { latentStart, tokens, evalEvery, checkpointMinutes, work, memoryLimit, threads, seed, device } =
    options;
  return {
    student,
    teacher,
    out,
    overwrite: options.overwrite === true,
    recipe,
    recipeName: name,
    checkpointSeconds: 60 * checkpointMinutes,
    seed,
    device: device === "auto" ? "cpu" : device,
    writtenBy: `subbit ${VERSION}`,
    ...(latentStart !== undefined && { latentStart }),
    ...(tokens !== undefined && { tokens }),
    ...(evalEvery !== undefined && { evaluateEvery: evalEvery }),
    ...(work !== undefined && { work }),
    ...(memoryLimit !== undefined && { memoryLimit }),
    ...(threads !== undefined && { threads }),
  };
}

async function writeReport(
  report: string,
  { source, name, recipe }: Inputs,
  log: TrainLog,
  result: TrainResult,
): Promise<void> {
  const { trainHtml } = await import("../reports/train-html.js");
  const html = await trainHtml({ title: source, recipeName: name, recipe, result, lines: log.lines });
  await writeWhole(report, (file) => writeFile(file, html));
}

/** The token budget in whole steps, so that the last one sees new windows too. */
function wholeSteps({ options, recipe }: Inputs, seqlen: number): number | undefined {
  if (options.tokens === undefined) return undefined;
  const step = recipe.batch * recipe.accumulate * seqlen;
  return step * Math.max(1, Math.ceil(options.tokens / step));
}

function workFolder({ work }: TrainCommandOptions, out: string): string {
  return resolve(work ?? `${out}.work`);
}

function dataSources(
  { data, teacher }: TrainCommandOptions,
  folder: string | undefined,
): readonly DataSource[] {
  if (data.length > 0) return data;
  const path = folder === undefined ? undefined : join(folder, CALIBRATION_FILE);
  if (path !== undefined && existsSync(path)) return [{ kind: "file", path }];
  throw new SubbitError(
    "usage",
    `${teacher} has no ${CALIBRATION_FILE} beside its weights; give --data FILE, a text like those the model is for.`,
  );
}
