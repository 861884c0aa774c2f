/** `subbit eval`: perplexity on a text, and with a teacher how far the model has moved from it. */
import { openTokenizer, SubbitError, type Model } from "@subbit/core";
import { readCorpus } from "@subbit/core/node";
import { evaluatePerplexity, type PerplexityReport, type PerplexityText } from "@subbit/evaluate";
import type { Command } from "commander";
import { deviceOption, withForward, type DeviceOptions } from "../backends.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
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
}

/** Windows of the GPTQ protocol; a model trained for less gets its own length. */
const DEFAULT_SEQLEN = 2048;

export function addEval(program: Command): void {
  const command = commandOf(
    program,
    "eval <source>",
    "measure a model on a text: perplexity, distance to a teacher",
  )
    .option("--text <file>", "text to measure on")
    .option(
      "--seqlen <n>",
      `tokens of a window (default: ${DEFAULT_SEQLEN}, or the model's context if shorter)`,
      integer({ min: 2 }),
    )
    .option("--windows <n>", "at most so many windows, from the start (default: all)", integer({ min: 1 }))
    .option("--teacher <source>", "also KL(teacher||model) and top-1 agreement");
  addTextOptions(command)
    .addOption(threadsOption())
    .addOption(deviceOption())
    .addOption(kvBitsOption())
    .addHelpText(
      "after",
      examples(
        "subbit eval stories-11m --text models/stories-11m/evaluation.txt --seqlen 512 --windows 40",
        "subbit eval OUT --teacher MODEL_FOLDER --text wiki.test.raw --windows 20 --json",
      ),
    )
    .action((source: string, options: EvalOptions) =>
      execute(options, (context) => evaluate(context, source, options)),
    );
}

async function evaluate(context: Context, source: string, options: EvalOptions): Promise<CommandResult> {
  const { text } = options;
  if (text === undefined) throw new SubbitError("usage", "Nothing to measure was given; give --text FILE.");
  const started = performance.now();
  return withModel(context, source, async (model) => {
    const seqlen = options.seqlen ?? Math.min(DEFAULT_SEQLEN, model.spec.maxPositions);
    checkSeqlen(seqlen, model.spec, source);
    const corpus = await readCorpus(
      text,
      await openTokenizer(model.checkpoint),
      corpusOptions(options, context),
    );
    const report = await measure(
      context,
      model,
      { ids: corpus.ids, seqlen, windows: options.windows },
      options,
    );
    const sizes = sizesOf(model);
    const seconds = (performance.now() - started) / 1000;
    const { teacher, kl, top1Agreement, ...perplexity } = report;
    return {
      json: {
        perplexity: { ...perplexity, textSha256: corpus.textSha256, textFormat: corpus.format },
        ...(teacher && { perplexityTeacher: teacher.ppl, kl, top1Agreement }),
        ...sizes,
        seconds,
      },
      text: describe(report, corpus.description, sizes, seconds),
    };
  });
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

function describe(report: PerplexityReport, text: string, sizes: ModelSizes, seconds: number): string {
  const rows = [
    ["text", text],
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
  rows.push(
    ["linears", `${toPrecision(sizes.bpw, 4)} bits per weight`],
    ["weight file", formatBytes(sizes.fileBytes)],
    ["time", formatSeconds(seconds)],
  );
  return renderPairs(rows);
}
