/** `subbit bench`: how fast a model loads and answers and what memory it takes, beside the same in node-llama-cpp. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { SubbitError, throwIfAborted } from "@subbit/core";
import { benchKernels } from "@subbit/runtime/bench";
import { Option, type Command } from "commander";
import { prepareContest, type Contest } from "../bench/contest.js";
import { renderKernels } from "../bench/kernel-report.js";
import { measure } from "../bench/measure.js";
import { profileModel, renderProfile } from "../bench/profile-report.js";
import { ratiosOf } from "../bench/ratios.js";
import { renderRatios, renderRows } from "../bench/report.js";
import { SHAPE_NAMES } from "../bench/shapes.js";
import { writeSynthetic } from "../bench/synthetic.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { localSource } from "../open-source.js";
import {
  commandOf,
  examples,
  kvBitsOption,
  overwriteOption,
  type KvBitsOptions,
  type OverwriteOptions,
} from "../options/common.js";
import { integer, integers, number } from "../options/parse.js";
import { assertWritable, writeWhole } from "../output-paths.js";

interface BenchOptions extends CommonOptions, KvBitsOptions, OverwriteOptions {
  readonly against: readonly string[];
  readonly threads?: readonly number[];
  readonly auto: boolean;
  readonly prefill?: readonly number[];
  readonly context?: readonly number[];
  readonly decodeTokens: number;
  readonly rounds: number;
  readonly warmUp: number;
  readonly idle: number;
  readonly quietCores?: number;
  readonly signBits: "8" | "12" | "16";

  readonly kernels?: boolean;
  readonly profile?: boolean;
  readonly out?: string;
  readonly shape?: string;
  readonly bpw: number;
  readonly embedBits: "16" | "8" | "4";
  readonly keep?: string;
}

const SIGN_BITS = { 8: 8, 12: 12, 16: 16 } as const;
const MAX_THREADS = 64;
/** Tokens before the profiled one where --context says nothing. */
const PROFILE_CONTEXT = 64;
const MAX_TOKENS = 1 << 20;

export function addBench(program: Command): void {
  const tokens = integers({ min: 1, max: MAX_TOKENS });
  commandOf(
    program,
    "bench [source]",
    "load, prompt and answer speed and memory, also against node-llama-cpp",
  )
    .addOption(
      new Option(
        "--against <files...>",
        "GGUF files to run in node-llama-cpp, in turn with the model",
      ).default([] as readonly string[], "none"),
    )
    .option(
      "--threads <list>",
      "thread counts (default: 1 and all cores)",
      integers({ min: 1, max: MAX_THREADS }),
    )
    .option("--no-auto", "leave out the row with the runtime's own choice of threads")
    .option(
      "--prefill <list>",
      "prompt lengths (default: 128,512,2048, as far as the context allows)",
      tokens,
    )
    .option("--context <list>", "tokens in the context when decoding starts (default: 64,256,1024)", tokens)
    .option(
      "--decode-tokens <n>",
      "tokens to decode at each context",
      integer({ min: 1, max: MAX_TOKENS }),
      32,
    )
    .option("--rounds <n>", "rounds through all processes", integer({ min: 1, max: 1000 }), 5)
    .option(
      "--idle <ms>",
      "how long each process is watched at rest; 0: not at all",
      integer({ min: 0, max: 600_000 }),
      1000,
    )
    .option(
      "--warm-up <ms>",
      "how long a process runs before its first figure",
      integer({ min: 0, max: 600_000 }),
      1500,
    )
    .addOption(
      new Option("--sign-bits <bits>", "rounding of sign products in our runtime: 8 is faster, 16 more exact")
        .choices(["8", "12", "16"])
        .default("12"),
    )
    .addOption(kvBitsOption())
    .option(
      "--quiet-cores <n>",
      "measure a figure again (3 times at most) while other programs keep more cores than this busy; Linux",
      number({ min: 0, max: 1024 }),
    )
    .option("--kernels", "the kernels by shape beside the processor's ceiling; a source may be left out")
    .option("--profile", "where the time of one token goes, on one thread; nothing else is measured")
    .option("--out <file>", "write the JSON object to this file too")
    .addOption(
      new Option("--shape <name>", "a model with random weights instead of a source").choices(SHAPE_NAMES),
    )
    .option("--bpw <x>", "bits per weight of the linears of --shape", number({ above: 0, max: 16 }), 0.55)
    .addOption(
      new Option("--embed-bits <bits>", "bits of embedding and head of --shape")
        .choices(["16", "8", "4"])
        .default("8"),
    )
    .option("--keep <folder>", "keep the model of --shape there (default: it is removed)")
    .addOption(overwriteOption())
    .addHelpText(
      "after",
      examples(
        "subbit bench stories-11m-0.8bpw --rounds 3",
        "subbit bench MODEL --against model.Q4_0.gguf --threads 1,2 --prefill 512 --context 64",
        "subbit bench --shape llama-1b --bpw 0.55 --json",
        "subbit bench --kernels",
        "subbit bench MODEL --profile --context 64",
      ) +
        "\nEvery file and thread count is a process of its own; rounds go through all of them in turn. Figures are medians\n" +
        "(and least to greatest); ratios are taken round by round. @64 means with 64 tokens in the context.\n",
    )
    .action((source: string | undefined, options: BenchOptions) =>
      execute(options, (context) => bench(context, source, options)),
    );
}

async function bench(
  context: Context,
  source: string | undefined,
  options: BenchOptions,
): Promise<CommandResult> {
  const { out, keep, kernels = false, overwrite = false } = options;
  const models = Number(source !== undefined) + Number(options.shape !== undefined);
  if (models > 1 || (models === 0 && !kernels)) {
    throw new SubbitError("usage", "Give either a source or --shape NAME (or --kernels alone).");
  }
  if (out !== undefined) assertWritable(out, overwrite);
  const parts = [
    ...(models === 1
      ? [await (options.profile === true ? profile : benchModel)(context, source, options)]
      : []),
    ...(kernels ? [await kernelTable(context, options)] : []),
  ];
  const result = {
    json: Object.assign({}, ...parts.map(({ json }) => json)) as CommandResult["json"],
    text: parts.map(({ text }) => text).join("\n\n"),
  };
  if (out !== undefined) {
    await writeWhole(out, (partial) => writeFile(partial, `${JSON.stringify(result.json, null, 2)}\n`));
  }
  if (keep !== undefined) context.note(`The model with random weights is kept in ${keep}.`);
  return result;
}

function benchModel(
  context: Context,
  source: string | undefined,
  options: BenchOptions,
): Promise<CommandResult> {
  return withSource(context, source, options, async (path, name) => {
    const contest = await prepareContest({
      ...options,
      path,
      locate: (one) => localSource(context, one),
      name,
      threads: options.threads ?? defaultThreads(),
      warn: (sentence) => context.warn(sentence),
    });
    return run(context, options, contest);
  });
}

function profile(
  context: Context,
  source: string | undefined,
  options: BenchOptions,
): Promise<CommandResult> {
  return withSource(context, source, options, async (path) => {
    const report = await profileModel(context, path, {
      context: options.context?.[0] ?? PROFILE_CONTEXT,
      signBits: SIGN_BITS[options.signBits],
      kvBits: options.kvBits,
    });
    return { json: { profile: report, machine: machine() }, text: renderProfile(report) };
  });
}

async function kernelTable(context: Context, options: BenchOptions): Promise<CommandResult> {
  const kernels = await benchKernels({
    threads: options.threads ?? defaultThreads(),
    rounds: options.rounds,
    onRun: (done, total, note) => {
      throwIfAborted(context.signal);
      context.onProgress({ stage: "kernels", done, total, unit: "steps", note });
    },
  });
  return { json: { kernels, machine: machine() }, text: renderKernels(kernels) };
}

/** Runs `body` with the folder or file to measure and what to call it. */
async function withSource<R>(
  context: Context,
  source: string | undefined,
  { shape, bpw, embedBits, keep, overwrite = false }: BenchOptions,
  body: (source: string, name: string) => Promise<R>,
): Promise<R> {
  if (shape === undefined) return body(source ?? "", source ?? "");
  const scratch = keep === undefined ? await mkdtemp(join(tmpdir(), "subbit-bench-")) : undefined;
  try {
    const folder = keep ?? join(scratch ?? "", shape);
    await writeSynthetic(folder, {
      shape,
      bpw,
      embedBits: embedBits === "16" ? 16 : embedBits === "8" ? 8 : 4,
      overwrite,
      signal: context.signal,
      onProgress: context.onProgress,
    });
    return await body(folder, `${shape} shape, ${bpw} bpw`);
  } finally {
    if (scratch !== undefined) await rm(scratch, { recursive: true, force: true });
  }
}

async function run(context: Context, options: BenchOptions, contest: Contest): Promise<CommandResult> {
  const runtime = { signBits: SIGN_BITS[options.signBits], kvBits: options.kvBits };
  const rows = await measure(contest.contestants, {
    ...contest,
    decodeTokens: options.decodeTokens,
    rounds: options.rounds,
    warmUpMs: options.warmUp,
    idleMs: options.idle,
    quietCores: options.quietCores,
    runtime,
    signal: context.signal,
    onProgress: context.onProgress,
  });
  const ratios = ratiosOf(rows);
  const json = {
    rows,
    ratios,
    rounds: options.rounds,
    decodeTokens: options.decodeTokens,
    runtime,
    contextTokens: contest.contextTokens,
    cacheBytes16: contest.cacheBytes16,
    machine: machine(),
  };
  const tables = [...(ratios.length > 0 ? [renderRatios(ratios)] : []), renderRows(rows)];
  return { json, text: tables.join("\n\n") };
}

function defaultThreads(): number[] {
  const all = Math.min(availableParallelism(), MAX_THREADS);
  return all === 1 ? [1] : [1, all];
}

function machine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
  };
}
