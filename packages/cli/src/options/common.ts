/** Options that several commands share, said once. */
import { KV_BITS, type KvBits } from "@subbit/runtime";
import { InvalidArgumentError, Option, type Command } from "commander";
import { integer } from "./parse.js";

/** A subcommand with the options that every command has. */
export function commandOf(program: Command, usage: string, description: string): Command {
  return program
    .command(usage)
    .description(description)
    .option("--json", "one JSON object on standard output, everything else on standard error")
    .option("--quiet", "no progress")
    .option("--debug", "stack traces of errors");
}

export interface ThreadOptions {
  readonly threads?: number;
}

export function threadsOption(): Option {
  return new Option("--threads <n>", "threads (default: all cores; to run models 4 at most)").argParser(
    integer({ min: 1, max: 1024 }),
  );
}

export interface KvBitsOptions {
  readonly kvBits?: KvBits;
}

export function kvBitsOption(): Option {
  return new Option(
    "--kv-bits <bits>",
    "bits of a number of the runtime's KV cache, 32, 16 or 8 (default: 16 for packed models, 32 for dense ones)",
  ).argParser((text) => {
    const bits = KV_BITS.find((known) => String(known) === text);
    if (bits === undefined) throw new InvalidArgumentError("Give 32, 16 or 8.");
    return bits;
  });
}

export interface SeedOptions {
  readonly seed: number;
}

export function seedOption(): Option {
  return new Option("--seed <n>", "seed of everything random")
    .argParser(integer({ min: 0, max: 2 ** 32 - 1 }))
    .default(0);
}

export interface OverwriteOptions {
  readonly overwrite?: boolean;
}

export function overwriteOption(): Option {
  return new Option("--overwrite", "replace the output when it exists");
}

/** Examples at the end of a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}\n`;
}
