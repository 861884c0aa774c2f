/** `subbit factorise`: one matrix, one method; for study and for checks against other implementations. */
import { availableParallelism } from "node:os";
import { honestBpw, paperBpw, SubbitError } from "@subbit/core";
import type { FactorisedLinear, FactoriseOptions, Importance } from "@subbit/compress";
import type { Init, Method } from "@subbit/compress/choices";
import { Option, type Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { readImportance, readMatrix } from "../matrix-files.js";
import {
  commandOf,
  examples,
  seedOption,
  threadsOption,
  type SeedOptions,
  type ThreadOptions,
} from "../options/common.js";
import { integer, integers, number } from "../options/parse.js";
import { addFormOptions, type SCHEDULES } from "../options/size.js";
import { formatBytes, formatSeconds, toPrecision } from "../output/format.js";
import { renderPairs } from "../output/table.js";

interface FactoriseCommandOptions extends CommonOptions, ThreadOptions, SeedOptions {
  readonly tensor?: string;
  readonly method: Method | "auto";
  readonly init?: Init;
  readonly schedule?: (typeof SCHEDULES)[number];
  readonly bpw?: number;
  readonly rank?: number;
  readonly ranks?: readonly number[];
  readonly paths?: number;
  readonly envelope?: number;
  readonly scaleBits?: 16 | 8;
  readonly iterations?: number;
  readonly refineSteps?: number;
  readonly importance?: string;
}

const LARGEST_RANK = 2 ** 24;

export function addFactorise(program: Command): void {
  const command = commandOf(
    program,
    "factorise <file>",
    "factor one matrix of a safetensors file into signs and scales",
  ).option("--tensor <name>", "which matrix (default: the only one)");
  addFormOptions(command)
    .addOption(
      new Option(
        "--bpw <x>",
        "bits per weight, everything stored counted (default: 0.8; onebit: what it costs)",
      )
        .argParser(number({ above: 0, max: 16 }))
        .conflicts(["rank", "ranks"]),
    )
    .addOption(
      new Option("--rank <n>", "rank of each path")
        .argParser(integer({ min: 1, max: LARGEST_RANK }))
        .conflicts("ranks"),
    )
    .option("--ranks <list>", "rank of each path, such as 100,40", integers({ min: 1, max: LARGEST_RANK }))
    .option(
      "--iterations <n>",
      "outer iterations (default: the method's own)",
      integer({ min: 1, max: 1_000_000 }),
    )
    .option(
      "--refine-steps <n>",
      "steps of gradient descent on all scales afterwards (default: 0)",
      integer({ min: 0, max: 1_000_000 }),
    )
    .option(
      "--importance <file>",
      "safetensors file with input [cols], output [rows], gram [cols, cols]: second moments that weigh the error",
    )
    .addOption(threadsOption())
    .addOption(seedOption())
    .addHelpText(
      "after",
      examples(
        "subbit factorise matrix.safetensors --method dbf --bpw 1.0",
        "subbit factorise matrix.safetensors --method mdbf --envelope 4 --init admm --scale-bits 8",
        "subbit factorise model.safetensors --tensor model.layers.0.mlp.up_proj.weight --rank 64 --json",
      ),
    )
    .action((file: string, options: FactoriseCommandOptions) =>
      execute(options, (context) => factoriseCommand(context, file, options)),
    );
}

async function factoriseCommand(
  context: Context,
  file: string,
  options: FactoriseCommandOptions,
): Promise<CommandResult> {
  const { method, threads, init, schedule, paths, envelope, iterations, refineSteps, ranks } = options;
  const { AUTO, factorise, methodForm } = await import("@subbit/compress");
  // A start that the method does not know is said before anything is read.
  const form = methodForm(method, init);
  if (ranks !== undefined && paths !== undefined && ranks.length !== paths) {
    throw new SubbitError(
      "usage",
      `${ranks.length} ranks were given for ${paths} paths; give one a path, or leave --paths out.`,
    );
  }
  const scaleBits = options.scaleBits ?? (method === "auto" ? AUTO.scaleBits : 16);
  const matrix = await readMatrix(file, options.tensor);
  const importance =
    options.importance === undefined ? undefined : await readImportance(options.importance, matrix);
  const { values, rows, cols } = matrix;
  const cpuBefore = process.cpuUsage();
  const result = await factorise(values, rows, cols, {
    ...sizeOf(options, form.kind === "onebit"),
    method,
    scaleBits,
    threads: threads ?? availableParallelism(),
    seed: options.seed,
    signal: context.signal,
    onProgress: context.onProgress,
    ...(init !== undefined && { init }),
    ...(schedule !== undefined && { schedule }),
    ...(paths !== undefined && { paths }),
    ...(envelope !== undefined && { envelope }),
    ...(iterations !== undefined && { iterations }),
    ...(refineSteps !== undefined && { refineSteps }),
    ...(importance && { importance }),
  });
  const cpu = process.cpuUsage(cpuBefore);
  const how = { method, init: init ?? form.inits[0], schedule: schedule ?? "tuned", scaleBits, importance };
  return report(result, how, (cpu.user + cpu.system) / 1e6);
}

const DEFAULT_BPW = 0.8;

function sizeOf(
  { bpw, rank, ranks }: FactoriseCommandOptions,
  oneBit: boolean,
): Pick<FactoriseOptions, "bpw" | "rank" | "ranks"> {
  if (rank !== undefined) return { rank };
  if (ranks !== undefined) return { ranks };
  if (bpw !== undefined) return { bpw };
  return oneBit ? {} : { bpw: DEFAULT_BPW };
}

interface How {
  readonly method: Method | "auto";
  readonly init: Init;
  readonly schedule: string;
  readonly scaleBits: 16 | 8;
  readonly importance: Importance | undefined;
}

function report(
  { linear, relError, weightedRelError, seconds }: FactorisedLinear,
  { method, init, schedule, scaleBits, importance }: How,
  cpuSeconds: number,
): CommandResult {
  const { rows, cols } = linear;
  const factored = linear.kind === "factored" ? linear.paths : [];
  const ranks = factored.map((path) => path.rank);
  const even = ranks.every((rank) => rank === ranks[0]);
  const bpw = honestBpw(linear);
  const stored = storedAs(linear, method);
  const shape = { rank: ranks[0] ?? 0, ranks, paths: factored.length, envelope: factored[0]?.envelope ?? 1 };
  const paper = paperBpw(stored, { rows, cols, ...shape }) ?? bpw;
  const peakRssBytes = process.resourceUsage().maxRSS * 1024;
  const pairs = [
    ["matrix", `${rows} x ${cols}`],
    ["method", `${method === stored ? method : `${method}, stored as ${stored}`}, started by ${init}`],
    ...(ranks.length === 0
      ? []
      : [
          [
            "rank",
            even
              ? `${ranks[0]}${ranks.length > 1 ? ` in each of ${ranks.length} paths` : ""}`
              : ranks.join(" + "),
          ],
        ]),
    ...(shape.envelope > 1 ? [["envelopes", `of rank ${shape.envelope}`]] : []),
    ["scales", `${scaleBits} bits`],
    ["bits per weight", `${toPrecision(bpw, 4)} (${toPrecision(paper, 4)} by the paper's formula)`],
    ["relative error", relError.toFixed(4)],
    ...(importance ? [["weighted", weightedRelError.toFixed(4)]] : []),
    ["time", `${formatSeconds(seconds)} (CPU ${formatSeconds(cpuSeconds)})`],
    ["peak memory", formatBytes(peakRssBytes)],
  ];
  return {
    json: {
      rows,
      cols,
      method,
      init,
      schedule,
      bpw,
      paperBpw: paper,
      rank: ranks[0] ?? null,
      ...(even ? {} : { ranks }),
      paths: factored.length > 0 ? factored.length : null,
      envelope: factored[0]?.envelope ?? null,
      scaleBits,
      relError,
      weightedRelError,
      seconds,
      cpuSeconds,
      peakRssBytes,
    },
    text: renderPairs(pairs),
  };
}

/** `auto` is a way to find the signs; what it stores is one of the published forms. */
function storedAs(linear: FactorisedLinear["linear"], method: Method | "auto"): string {
  if (method !== "auto" || linear.kind !== "factored") return method;
  return linear.paths[0].midIn === undefined ? "nanoquant" : "dbf";
}
