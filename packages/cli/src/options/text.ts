/** How texts are read, for every command that reads one. */
import { SubbitError, TEXT_FORMATS, type CorpusOptions, type ModelSpec, type TextFormat } from "@subbit/core";
import { Option, type Command } from "commander";
import type { Context } from "../context.js";
import { nonEmpty } from "./parse.js";

export interface TextOptions {
  readonly textFormat?: TextFormat;
  readonly separator?: string;
  readonly addBos?: boolean;
  readonly textColumn?: string;
}

export function addTextOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--text-format <format>",
        "rows: data set rows joined by blank lines; plain: as it stands; documents: an end-of-text token before each (default: by file name and content)",
      ).choices(TEXT_FORMATS),
    )
    .addOption(
      new Option(
        "--text-column <name>",
        "column of a parquet file, or field of a JSON line, that holds the text (default: text)",
      ).argParser(nonEmpty),
    )
    .addOption(new Option("--separator <text>", "what stands between documents").argParser(nonEmpty))
    .option("--add-bos", "one bos token before the whole text (rows and plain)");
}

export function corpusOptions(
  { textFormat, separator, addBos, textColumn }: TextOptions,
  { onProgress, signal }: Pick<Context, "onProgress" | "signal">,
): CorpusOptions {
  return { format: textFormat, separator, addBos, textColumn, onProgress, signal };
}

/** Throws `usage` when windows are longer than the model's context. */
export function checkSeqlen(seqlen: number, spec: Pick<ModelSpec, "maxPositions">, source: string): void {
  if (seqlen <= spec.maxPositions) return;
  throw new SubbitError(
    "usage",
    `Windows of ${seqlen} tokens were asked for, but the context of ${source} is ${spec.maxPositions}; give a smaller --seqlen.`,
  );
}
