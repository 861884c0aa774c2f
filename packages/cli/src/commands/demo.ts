/** `subbit demo`: the quick start. Compresses the shipped teacher while you watch, says what it cost, tells a story. */
import { join, relative, resolve } from "node:path";
import { inspectModel, openTokenizer } from "@subbit/core";
import { readCorpus } from "@subbit/core/node";
import type { CompressResult } from "@subbit/compress";
import type { GenerationResult } from "@subbit/runtime";
import type { Command } from "commander";
import { compressionCallbacks } from "../compression-callbacks.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { sizesOf } from "../model-sizes.js";
import { withModel } from "../open-source.js";
import {
  commandOf,
  examples,
  seedOption,
  threadsOption,
  type SeedOptions,
  type ThreadOptions,
} from "../options/common.js";
import { formatCount, formatSeconds } from "../output/format.js";
import { compressJson, modelTable, qualityOf, stageTable } from "../reports/compress-report.js";
import { withRunningModel, type RunningModel } from "../running-model.js";
import { resolveSource } from "../sources.js";
import { teacherFiles } from "../teacher-files.js";
import { VERSION } from "../version.js";
import { generationJson, streamed } from "./generate.js";

interface DemoOptions extends CommonOptions, ThreadOptions, SeedOptions {
  readonly out: string;
}

const TEACHER = "stories-11m";
const BPW = 0.8;
const SEQLEN = 512;
/** Calibration windows and evaluation windows: what a few minutes on two cores allow. */
const SAMPLES = 96;
const EVAL_WINDOWS = 40;
const STORY_START = "Once upon a time, there was a little";
const STORY = { maxTokens: 180, temperature: 0.6, topP: 0.95 };
/** Tokens timed for the speed column. */
const TIMED_TOKENS = 96;

export function addDemo(program: Command): void {
  commandOf(
    program,
    "demo",
    `compress the shipped ${TEACHER} to ${BPW} bits per weight in a few minutes, and hear a story from it`,
  )
    .option(
      "--out <dir>",
      "folder for the packed model; replaced when it exists",
      join("demo-output", `${TEACHER}-${BPW}bpw`),
    )
    .addOption(threadsOption())
    .addOption(seedOption())
    .addHelpText("after", examples("subbit demo", "subbit demo --json"))
    .action((options: DemoOptions) => execute(options, (context) => demo(context, options)));
}

async function demo(context: Context, options: DemoOptions): Promise<CommandResult> {
  const { out, threads } = options;
  const teacher = resolveSource(TEACHER);
  const { result, teacherBpw } = await compressTeacher(context, teacher, options);
  const teacherSpeed = await withRunningModel(context, teacher, { threads }, (running) =>
    decodeSpeed(context, running),
  );
  return withRunningModel(context, out, { threads }, async (running) => {
    const packedSpeed = await decodeSpeed(context, running);
    const quality = qualityOf(result);
    const models = [
      {
        name: `${TEACHER} (teacher)`,
        fileBytes: result.plan.totals.teacherBytes,
        bpw: teacherBpw,
        perplexity: quality.perplexityTeacher,
        tokensPerSecond: teacherSpeed,
      },
      {
        name: "packed",
        fileBytes: result.fileBytes,
        bpw: result.bpw,
        perplexity: quality.perplexity,
        tokensPerSecond: packedSpeed,
      },
    ];
    const { bold } = context.style;
    context.say(`\n${stageTable(result)}\n\n${modelTable(models)}\n`);
    context.say(
      `${formatSeconds(result.seconds)} on ${running.runtime.capabilities.threads} threads; the packed model is in ${out}. A story from it:\n`,
    );
    context.stream(bold(STORY_START));
    const story = await tellStory(context, running, options.seed);
    context.stream("\n\n");
    context.say(`${bold("Next:")}\n${nextSteps(out)}`);
    return { json: { ...compressJson(result), models, ...generationJson(story) } };
  });
}

function compressTeacher(
  context: Context,
  teacher: string,
  options: DemoOptions,
): Promise<{ result: CompressResult; teacherBpw: number }> {
  const { out, threads, seed } = options;
  return withModel(context, teacher, async (model) => {
    const { compress } = await import("@subbit/compress");
    const tokenizer = await openTokenizer(model.checkpoint);
    const calibration = await readCorpus(join(teacher, "calibration.txt"), tokenizer);
    const evaluation = await readCorpus(join(teacher, "evaluation.txt"), tokenizer);

    context.say(
      `Compressing ${TEACHER} (${formatCount(inspectModel(model).parameters)} weights) to ${BPW} bits per linear weight. ` +
        "This takes a few minutes; Ctrl-C stops it, and the same command goes on from there.",
    );
    const text = { ids: evaluation.ids, seqlen: SEQLEN, windows: EVAL_WINDOWS };
    const result = await compress({
      ...compressionCallbacks(context, model, { threads, text }),
      ...(await teacherFiles(context, { path: teacher }, model)),
      model,
      out,
      overwrite: true,
      bpw: BPW,
      samples: SAMPLES,
      seqlen: SEQLEN,
      preset: "demo",
      calibration: { ids: calibration.ids, name: calibration.description },
      evaluation: { ...text, name: evaluation.description },
      seed,
      writtenBy: `subbit ${VERSION}`,
      ...(threads !== undefined && { threads }),
    });
    context.endProgress();
    return { result, teacherBpw: sizesOf(model).bpw };
  });
}

/** Tokens a second of greedy decoding. */
async function decodeSpeed(context: Context, { runtime, tokenizer }: RunningModel): Promise<number> {
  const ids = tokenizer().encode(STORY_START, { addSpecialTokens: true });
  const settings = { maxTokens: TIMED_TOKENS, temperature: 0, ignoreEos: true, signal: context.signal };
  const { decodeTokensPerSecond } = await runtime.complete(ids, settings);
  return decodeTokensPerSecond;
}

function tellStory(
  context: Context,
  { runtime, tokenizer }: RunningModel,
  seed: number,
): Promise<GenerationResult> {
  const ids = tokenizer().encode(STORY_START, { addSpecialTokens: true });
  return streamed(context, runtime, ids, { ...STORY, seed });
}

function nextSteps(out: string): string {
  const path = relative(process.cwd(), resolve(out)) || out;
  return [
    `  npx subbit generate ${path} --prompt "Lily found a red ball"`,
    `  npx subbit chat ${path}`,
    `  npx subbit inspect ${path}`,
    `  npx subbit compress MODEL_FOLDER OUT --bpw 0.8 --calibration text.txt`,
  ].join("\n");
}
