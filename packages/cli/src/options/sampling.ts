/** How the next token is chosen: options of `generate` and `chat`. */
import { InvalidArgumentError, Option, type Command } from "commander";
import type { GenerateOptions } from "@subbit/runtime";
import { seedOption, type SeedOptions } from "./common.js";
import { integer, nonEmpty, number } from "./parse.js";

export interface SamplingOptions extends SeedOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repeatPenalty: number;
  readonly stop: readonly string[];
}

const MAX_STOPS = 64;

export function addSamplingOptions(command: Command, defaults: { maxTokens: number }): Command {
  return command
    .option("--max-tokens <n>", "most tokens to generate", integer({ min: 1 }), defaults.maxTokens)
    .option("--temperature <t>", "0 is greedy; higher is more varied", number({ min: 0, max: 100 }), 0.8)
    .option("--top-p <p>", "smallest set of tokens with this probability", number({ above: 0, max: 1 }), 0.95)
    .option("--top-k <k>", "so many most likely tokens; 0 is all", integer({ min: 0 }), 0)
    .option("--min-p <p>", "tokens at least this likely, relative to the best", number({ min: 0, max: 1 }), 0)
    .option(
      "--repeat-penalty <x>",
      "divides the logits of recent tokens; 1 is none",
      number({ above: 0, max: 10 }),
      1,
    )
    .addOption(
      new Option("--stop <text>", "stop where this text comes (may be given several times)")
        .argParser((text: string, before: readonly string[]) => {
          if (before.length >= MAX_STOPS) throw new InvalidArgumentError(`Give at most ${MAX_STOPS}.`);
          return [...before, nonEmpty(text)];
        })
        .default([] as readonly string[], "none"),
    )
    .addOption(seedOption());
}

/** As the runtime takes them. */
export function generateOptions(options: SamplingOptions): GenerateOptions {
  const { maxTokens, temperature, topP, topK, minP, repeatPenalty, stop, seed } = options;
  return { maxTokens, temperature, topP, topK, minP, repeatPenalty, stop, seed };
}
