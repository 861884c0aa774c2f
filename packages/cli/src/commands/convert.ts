/** `subbit convert`: a model from one layout to another, without loss where that is possible, and not at all where it is not. */
import {
  convertedModel,
  maxWeightDifference,
  OFFICIAL_LAYOUTS,
  officialLayout,
  openModel,
  planDense,
  planOfficial,
  SubbitError,
  type FolderPlan,
  type Model,
  type OfficialLayoutName,
} from "@subbit/core";
import { openCheckpointAt, writePlan, writeSubbit } from "@subbit/core/node";
import { Option, type Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { withModel } from "../open-source.js";
import { commandOf, examples, overwriteOption, type OverwriteOptions } from "../options/common.js";
import { oneOf } from "../options/parse.js";
import { assertOut } from "../output-paths.js";
import { formatBytes, toPrecision } from "../output/format.js";
import { renderPairs } from "../output/table.js";
import { pathOf } from "../sources.js";
import { sideTexts } from "../teacher-files.js";
import { VERSION } from "../version.js";

const TARGETS = ["subbit", "dense", ...OFFICIAL_LAYOUTS.map(({ name }) => name)];

interface ConvertOptions extends CommonOptions, OverwriteOptions {
  readonly to: "subbit" | "dense" | OfficialLayoutName;
  readonly scaleBits?: 32 | 16 | 8;
}

export function addConvert(program: Command): void {
  commandOf(program, "convert <source> <out>", "write a model in another layout, without loss or not at all")
    .addOption(
      new Option("--to <layout>", "layout of the output folder").choices(TARGETS).makeOptionMandatory(),
    )
    .addOption(
      new Option(
        "--scale-bits <n>",
        "round scales to 16 or 8 bits (only to subbit; default: the narrowest of 16 and 32 that loses nothing)",
      ).argParser(oneOf([32, 16, 8])),
    )
    .addOption(overwriteOption())
    .addHelpText(
      "after",
      examples(
        "subbit convert LITTLEBIT_FOLDER OUT --to subbit",
        "subbit convert PACKED_FOLDER OUT --to littlebit",
        "subbit convert NANOQUANT_FOLDER OUT --to dbf",
        "subbit convert stories-11m-0.8bpw OUT --to dense",
      ) +
        "\nmaxAbsDifference compares every weight of what was written with the source, read back from the new files.\n",
    )
    .action((source: string, out: string, options: ConvertOptions, command: Command) => {
      if (options.scaleBits !== undefined && options.to !== "subbit")
        command.error("error: option '--scale-bits' is for --to subbit; other layouts keep scales exactly");
      return execute(options, (context) => convert(context, source, out, options));
    });
}

async function convert(
  context: Context,
  source: string,
  out: string,
  options: ConvertOptions,
): Promise<CommandResult> {
  assertOut(pathOf(source), out, options.overwrite === true);
  return withModel(context, source, async (model) => {
    const from = model.manifest === undefined ? (model.layout?.name ?? "dense") : "subbit";
    const { to } = options;
    let maxAbsDifference = NaN;
    const running = { signal: context.signal, onProgress: context.onProgress };
    const common = {
      ...running,
      overwrite: options.overwrite === true,
      texts: await sideTexts(model),
      finish: async (folder: string): Promise<Record<string, never>> => {
        maxAbsDifference = await readBack(folder, model, running);
        if (maxAbsDifference !== 0 && options.scaleBits === undefined) {
          throw new SubbitError(
            "internal",
            `What was written in the ${to} layout differs from ${source} by ${maxAbsDifference}, so it is not kept.`,
          );
        }
        return {};
      },
    };
    const fileBytes = await write(context, model, out, options, common);
    return {
      json: { out, from, to, maxAbsDifference, fileBytes },
      text: renderPairs([
        ["written", out],
        ["layout", from === to ? to : `${to}, from ${from}`],
        ["weight files", formatBytes(fileBytes)],
        [
          "largest difference of a weight",
          maxAbsDifference === 0 ? "0 (the same weights)" : toPrecision(maxAbsDifference, 3),
        ],
      ]),
    };
  });
}

type WriteOptions = Parameters<typeof writeSubbit>[2] & Parameters<typeof writePlan>[2];

async function write(
  context: Context,
  model: Model,
  out: string,
  { to, scaleBits }: ConvertOptions,
  common: Omit<NonNullable<WriteOptions>, "finish"> & {
    finish: (folder: string) => Promise<Record<string, never>>;
  },
): Promise<number> {
  if (to === "subbit") {
    const converted = convertedModel(model, { writtenBy: `subbit ${VERSION}`, scaleBits });
    return (await writeSubbit(out, converted, common)).fileBytes;
  }
  const plan: FolderPlan =
    to === "dense" ? await planDense(model, common) : await planOfficial(officialLayout(to), model, common);
  for (const note of plan.notes) context.warn(note);
  const { finish, ...rest } = common;
  return writePlan(out, plan, {
    ...rest,
    finish: async (folder) => {
      await finish(folder);
    },
  });
}

/** Opens what was written and compares it with the source. */
async function readBack(
  folder: string,
  source: Model,
  running: { signal: AbortSignal; onProgress: Context["onProgress"] },
): Promise<number> {
  const checkpoint = await openCheckpointAt(folder);
  try {
    return await maxWeightDifference(source, await openModel(checkpoint), running);
  } finally {
    await checkpoint.close();
  }
}
