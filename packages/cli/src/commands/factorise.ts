/** `subbit factorise`: one matrix, one method; for study and for checks against other implementations. */
import { availableParallelism } from "node:os";
import { bitsOfRank, inputError, openSafetensors, SubbitError, type SafetensorsFile } from "@subbit/core";
import { fileSource } from "@subbit/core/node";
import type { FactorisedLinear, FactoriseOptions, Importance } from "@subbit/compress";
import { Option, type Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import {
  commandOf,
  examples,
  seedOption,
  threadsOption,
  type SeedOptions,
  type ThreadOptions,
} from "../options/common.js";
import { integer, number } from "../options/parse.js";
import { formatSeconds, toPrecision } from "../output/format.js";
import { renderPairs } from "../output/table.js";

type Method = "auto" | "dbf" | "nanoquant" | "littlebit";

interface FactoriseCommandOptions extends CommonOptions, ThreadOptions, SeedOptions {
  readonly tensor?: string;
  readonly method: Method;
  readonly init?: "admm" | "dual-svid";
  readonly bpw?: number;
  readonly rank?: number;
  readonly paths?: number;
  readonly envelope: string;
  readonly scaleBits: string;
  readonly iterations?: number;
  readonly importance?: string;
}

/** What each method starts from; another start is another method. */
const INIT_OF: Readonly<Record<Method, "admm" | "dual-svid">> = {
  auto: "admm",
  dbf: "admm",
  nanoquant: "admm",
  littlebit: "dual-svid",
};

export function addFactorise(program: Command): void {
  commandOf(program, "factorise <file>", "factor one matrix of a safetensors file into signs and scales")
    .option("--tensor <name>", "which matrix (default: the only one)")
    .addOption(
      new Option("--method <method>", "how")
        .choices(["auto", "dbf", "nanoquant", "littlebit"])
        .default("auto"),
    )
    .addOption(
      new Option("--init <init>", "how it starts (default: the method's own)").choices(["admm", "dual-svid"]),
    )
    .addOption(
      new Option("--bpw <x>", "bits per weight, everything stored counted (default: 0.8)")
        .argParser(number({ above: 0, max: 16 }))
        .conflicts("rank"),
    )
    .option("--rank <n>", "rank of each path", integer({ min: 1, max: 2 ** 24 }))
    .option("--paths <n>", "paths (default: the method's own)", integer({ min: 1, max: 8 }))
    .addOption(new Option("--envelope <l>", "rank of the magnitude envelopes").choices(["1"]).default("1"))
    .addOption(new Option("--scale-bits <bits>", "bits of a stored scale").choices(["16"]).default("16"))
    .option(
      "--iterations <n>",
      "outer iterations (default: the method's own)",
      integer({ min: 1, max: 1_000_000 }),
    )
    .option(
      "--importance <file>",
      "safetensors file with input [cols] and output [rows]: second moments that weigh the error",
    )
    .addOption(threadsOption())
    .addOption(seedOption())
    .addHelpText(
      "after",
      examples(
        "subbit factorise matrix.safetensors --method dbf --bpw 1.0",
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
  const { method, threads } = options;
  if (options.init !== undefined && options.init !== INIT_OF[method]) {
    throw new SubbitError(
      "usage",
      `Method ${method} starts with ${INIT_OF[method]}, not ${options.init}; choose another method or leave --init out.`,
    );
  }
  const matrix = await readMatrix(file, options.tensor);
  const importance =
    options.importance === undefined ? undefined : await readImportance(options.importance, matrix);
  const { factorise } = await import("@subbit/compress");
  const { values, rows, cols } = matrix;
  const cpuBefore = process.cpuUsage();
  const result = await factorise(values, rows, cols, {
    ...sizeOf(options),
    method,
    threads: threads ?? availableParallelism(),
    seed: options.seed,
    signal: context.signal,
    onProgress: context.onProgress,
    ...(options.paths !== undefined && { paths: options.paths }),
    ...(options.iterations !== undefined && { iterations: options.iterations }),
    ...(importance && { importance }),
  });
  const cpu = process.cpuUsage(cpuBefore);
  return report(result, method, importance !== undefined, (cpu.user + cpu.system) / 1e6);
}

const DEFAULT_BPW = 0.8;

function sizeOf({ bpw, rank }: FactoriseCommandOptions): Pick<FactoriseOptions, "bpw" | "rank"> {
  return rank === undefined ? { bpw: bpw ?? DEFAULT_BPW } : { rank };
}

interface Matrix {
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly values: Float32Array;
}

async function withFile<R>(path: string, body: (file: SafetensorsFile) => Promise<R>): Promise<R> {
  const file = await openSafetensors(await fileSource(path));
  try {
    return await body(file);
  } finally {
    await file.close();
  }
}

function readMatrix(path: string, tensor: string | undefined): Promise<Matrix> {
  return withFile(path, async (file) => {
    const matrices = [...file.tensors.values()].filter((info) => info.shape.length === 2);
    const found = tensor === undefined ? matrices : matrices.filter((info) => info.name === tensor);
    if (found.length !== 1) {
      const names = matrices
        .slice(0, 8)
        .map((info) => info.name)
        .join(", ");
      throw inputError(
        tensor === undefined
          ? `${path} holds ${matrices.length} matrices (${names}); say which with --tensor.`
          : `${path} holds no matrix ${tensor}; it has ${names}.`,
      );
    }
    const [info] = found;
    const values = await file.readF32(info.name);
    if (!values.every(Number.isFinite))
      throw inputError(`${info.name} of ${path} holds values that are not finite.`);
    return { rows: info.shape[0], cols: info.shape[1], values };
  });
}

function readImportance(path: string, { rows, cols }: Matrix): Promise<Importance> {
  return withFile(path, async (file) => {
    const vector = async (name: string, length: number): Promise<Float32Array | undefined> => {
      const info = file.tensors.get(name);
      if (info === undefined) return undefined;
      const values = await file.readF32(name);
      if (values.length !== length)
        throw inputError(
          `${name} of ${path} has ${values.length} values, but the matrix is ${rows} x ${cols}.`,
        );
      if (!values.every((value) => Number.isFinite(value) && value >= 0))
        throw inputError(`${name} of ${path} holds values that are negative or not finite.`);
      return values;
    };
    const input = await vector("input", cols);
    const output = await vector("output", rows);
    if (input === undefined && output === undefined)
      throw inputError(`${path} holds neither input [${cols}] nor output [${rows}].`);
    return { ...(input && { input }), ...(output && { output }) };
  });
}

function report(
  { linear, relError, weightedRelError, seconds }: FactorisedLinear,
  method: Method,
  weighted: boolean,
  cpuSeconds: number,
): CommandResult {
  const { rows, cols, paths } = linear;
  const [{ rank, envelope, midIn }] = paths;
  const bits = bitsOfRank({
    rows,
    cols,
    rank,
    paths: paths.length,
    envelope,
    midScale: midIn !== undefined,
    scaleBits: 16,
  });
  const bpw = bits.total / (rows * cols);
  const init = INIT_OF[method];
  // `auto` is a way to find the signs; what it stores is one of the published forms.
  const stored = method === "auto" ? (midIn === undefined ? "nanoquant" : "dbf") : method;
  const pairs = [
    ["matrix", `${rows} x ${cols}`],
    ["method", `${method === stored ? method : `${method}, stored as ${stored}`}, started by ${init}`],
    ["rank", `${rank}${paths.length > 1 ? ` in each of ${paths.length} paths` : ""}`],
    ["bits per weight", toPrecision(bpw, 4)],
    ["relative error", relError.toFixed(4)],
    ...(weighted ? [["weighted", weightedRelError.toFixed(4)]] : []),
    ["time", `${formatSeconds(seconds)} (CPU ${formatSeconds(cpuSeconds)})`],
  ];
  return {
    json: {
      rows,
      cols,
      method,
      init,
      bpw,
      rank,
      paths: paths.length,
      envelope,
      relError,
      weightedRelError,
      seconds,
      cpuSeconds,
    },
    text: renderPairs(pairs),
  };
}
