/** `subbit eval`: perplexity on a text, accuracy on tasks, and with a teacher how far the model has moved from it. */
import { openTokenizer, SubbitError, type Corpus, type Model } from "@subbit/core";
import { readCorpus } from "@subbit/core/node";
import { evaluatePerplexity, TASKS, type PerplexityReport, type PerplexityText } from "@subbit/evaluate";
import type { Command } from "commander";
import { deviceOption, withForward, type DeviceOptions } from "../backends.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { runTasks, type TaskReports } from "../eval/run-tasks.js";
import { loadTasks } from "../eval/task-files.js";
import { meanAccuracy, renderTasks } from "../eval/task-table.js";
import { execute } from "../execute.js";
import { sizesOf, type ModelSizes } from "../model-sizes.js";
import { withModel } from "../open-source.js";
import {
  commandOf,
  examples,
  kvBitsOption,
  threadsOption,
  type KvBitsOptions,
  type ThreadOptions,
} from "../options/common.js";
import { integer } from "../options/parse.js";
import { addTextOptions, checkSeqlen, corpusOptions, type TextOptions } from "../options/text.js";
import { formatBytes, formatSeconds, toPrecision } from "../output/format.js";
import { renderPairs } from "../output/table.js";

interface EvalOptions extends CommonOptions, TextOptions, ThreadOptions, KvBitsOptions, DeviceOptions {
  readonly text?: string;
  readonly seqlen?: number;
  readonly windows?: number;
  readonly teacher?: string;
  readonly tasks?: string;
  readonly data?: string;
  readonly limit?: number;
  readonly offset?: number;
  readonly work?: string;
}

/** Windows of the GPTQ protocol; a model trained for less gets its own length. */
const DEFAULT_SEQLEN = 2048;

export function addEval(program: Command): void {
  const command = commandOf(
    program,
    "eval <source>",
    "measure a model: perplexity on a text, accuracy on zero-shot tasks, distance to a teacher",
  )
    .option("--text <file>", "text to measure on")
    .option(
      "--seqlen <n>",
      `tokens of a window (default: ${DEFAULT_SEQLEN}, or the model's context if shorter)`,
      integer({ min: 2 }),
    )
    .option("--windows <n>", "at most so many windows, from the start (default: all)", integer({ min: 1 }))
    .option("--teacher <source>", "also KL(teacher||model) and top-1 agreement, and agreement of choices")
    .option(
      "--tasks <names>",
      `multiple-choice tasks between commas: ${TASKS.map(({ name }) => name).join(", ")}, or .jsonl files of your own`,
    )
    .option("--data <folder>", "where NAME.jsonl of the named tasks lie")
    .option("--limit <n>", "at most so many rows of a task (default: all)", integer({ min: 1 }))
    .option("--offset <n>", "rows of a task to leave out from the start (default: 0)", integer({ min: 0 }))
    .option("--work <folder>", "keep the scores of rows here; the same command goes on from them");
  addTextOptions(command)
    .addOption(threadsOption())
    .addOption(deviceOption())
    .addOption(kvBitsOption())
    .addHelpText(
      "after",
      examples(
        "subbit eval stories-11m --text models/stories-11m/evaluation.txt --seqlen 512 --windows 40",
        "subbit eval OUT --teacher MODEL_FOLDER --text wiki.test.raw --windows 20 --json",
        "subbit eval OUT --tasks boolq,piqa,hellaswag --data DATA_FOLDER --limit 200 --work scores",
        "subbit eval stories-11m --tasks my-task.jsonl",
      ),
    )
    .action((source: string, options: EvalOptions) =>
      execute(options, (context) => evaluate(context, source, options)),
    );
}

async function evaluate(context: Context, source: string, options: EvalOptions): Promise<CommandResult> {
  checkOptions(options);
  const { limit, offset } = options;
  const started = performance.now();
  const tasks =
    options.tasks === undefined ? [] : await loadTasks(options.tasks, options.data, { limit, offset });
  return withModel(context, source, async (model, opened) => {
    const { text: path } = options;
    const text =
      path === undefined ? undefined : await measureText(context, source, model, { ...options, text: path });
    const reports = tasks.length === 0 ? undefined : await runTasks(context, opened, model, tasks, options);
    const sizes = sizesOf(model);
    const seconds = (performance.now() - started) / 1000;
    return {
      json: {
        ...text?.json,
        ...(reports && { tasks: Object.fromEntries(reports), accMean: meanAccuracy(reports) }),
        ...sizes,
        seconds,
      },
      text: describe(text?.rows ?? [], reports, sizes, seconds),
    };
  });
}

function checkOptions(options: EvalOptions): void {
  const { text, tasks, data, limit, offset, work, seqlen, windows } = options;
  if (text === undefined && tasks === undefined) {
    throw new SubbitError("usage", "Nothing to measure was given; give --text FILE or --tasks NAMES.");
  }
  if (tasks === undefined) refuseAny({ data, limit, offset, work }, "--tasks");
  if (text === undefined) refuseAny({ seqlen, windows }, "--text");
}

/** Throws `usage` for the first option that was given without the one that it belongs to. */
function refuseAny(options: Readonly<Record<string, unknown>>, owner: string): void {
  const stray = Object.keys(options).find((name) => options[name] !== undefined);
  if (stray === undefined) return;
  throw new SubbitError("usage", `--${stray} was given without ${owner}; give both or neither.`);
}

/** Fields and lines of the report. */
interface TextReport {
  readonly json: Readonly<Record<string, unknown>>;
  readonly rows: readonly string[][];
}

async function measureText(
  context: Context,
  source: string,
  model: Model,
  options: EvalOptions & { readonly text: string },
): Promise<TextReport> {
  const seqlen = options.seqlen ?? Math.min(DEFAULT_SEQLEN, model.spec.maxPositions);
  checkSeqlen(seqlen, model.spec, source);
  const tokenizer = await openTokenizer(model.checkpoint);
  const corpus = await readCorpus(options.text, tokenizer, corpusOptions(options, context));
  const text = { ids: corpus.ids, seqlen, windows: options.windows };
  const report = await measure(context, model, text, options);
  const { teacher, kl, top1Agreement, ...perplexity } = report;
  return {
    json: {
      perplexity: { ...perplexity, textSha256: corpus.textSha256, textFormat: corpus.format },
      ...(teacher && { perplexityTeacher: teacher.ppl, kl, top1Agreement }),
    },
    rows: textRows(report, corpus),
  };
}

function measure(
  context: Context,
  model: Model,
  text: PerplexityText,
  options: EvalOptions,
): Promise<PerplexityReport> {
  const { threads, kvBits } = options;
  const backend = { threads, kvBits, tokens: text.seqlen, signal: context.signal };
  const { signal, onProgress } = context;
  return withForward(model, options.device, backend, (student) => {
    if (options.teacher === undefined) return evaluatePerplexity(text, student, { signal, onProgress });
    return withModel(context, options.teacher, (teacherModel) =>
      withForward(teacherModel, options.device, backend, (teacher) =>
        evaluatePerplexity(text, student, { teacher, signal, onProgress }),
      ),
    );
  });
}

function textRows(report: PerplexityReport, corpus: Corpus): string[][] {
  const rows = [
    ["text", corpus.description],
    ["windows", `${report.windows.length} of ${report.seqlen} tokens`],
    ["perplexity", toPrecision(report.ppl, 5)],
    ["mean NLL", `${report.nll.toFixed(4)} nats a token`],
  ];
  if (report.teacher && report.kl !== undefined && report.top1Agreement !== undefined) {
    rows.push(
      ["teacher's perplexity", toPrecision(report.teacher.ppl, 5)],
      ["KL(teacher||model)", `${report.kl.toFixed(4)} nats a token`],
      ["top-1 agreement", `${(100 * report.top1Agreement).toFixed(1)} %`],
    );
  }
  return rows;
}

function describe(
  rows: readonly string[][],
  reports: TaskReports | undefined,
  sizes: ModelSizes,
  seconds: number,
): string {
  const pairs = renderPairs([
    ...rows,
    ["linears", `${toPrecision(sizes.bpw, 4)} bits per weight`],
    ["weight file", formatBytes(sizes.fileBytes)],
    ["time", formatSeconds(seconds)],
  ]);
  return reports === undefined ? pairs : `${renderTasks(reports)}\n\n${pairs}`;
}
