/** `subbit generate`: text from a prompt, streamed as it is made. */
import { inputError, SubbitError, type Tokenizer } from "@subbit/core";
import type { GenerateOptions, GenerationResult, RuntimeModel } from "@subbit/runtime";
import type { Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { readIds } from "../json-files.js";
import { commandOf, examples, kvBitsOption, threadsOption } from "../options/common.js";
import { addSamplingOptions, generateOptions, type SamplingOptions } from "../options/sampling.js";
import {
  defaultSource,
  fastOption,
  runDeviceOption,
  withRunningModel,
  type RunOptions,
} from "../running-model.js";
import { toPrecision } from "../output/format.js";

interface GenerateCommandOptions extends CommonOptions, RunOptions, SamplingOptions {
  readonly prompt?: string;
  readonly ids?: string;
  readonly chat?: boolean;
  readonly ignoreEos?: boolean;
}

/** What a shipped story teller is asked when nothing is said. */
const DEFAULT_PROMPT = "Once upon a time";

export function addGenerate(program: Command): void {
  const command = commandOf(
    program,
    "generate [source]",
    "continue a text (default source: the shipped packed model)",
  )
    .option("--prompt <text>", "text to continue")
    .option("--ids <file>", "JSON array of token ids to continue instead of a text")
    .option("--chat", "the prompt is a message: answer it by the model's chat template")
    .option("--ignore-eos", "go on after an end-of-text token");
  addSamplingOptions(command, { maxTokens: 200 })
    .addOption(threadsOption())
    .addOption(runDeviceOption())
    .addOption(fastOption())
    .addOption(kvBitsOption())
    .addHelpText(
      "after",
      examples(
        "subbit generate",
        'subbit generate stories-11m --prompt "Lily had a red ball" --temperature 0.7 --seed 5',
        'subbit generate MODEL --chat --prompt "What is a llama?" --json',
      ),
    )
    .action((source: string | undefined, options: GenerateCommandOptions) =>
      execute(options, (context) => generate(context, source, options)),
    );
}

async function generate(
  context: Context,
  source: string | undefined,
  options: GenerateCommandOptions,
): Promise<CommandResult> {
  const prompt =
    options.prompt ?? (source === undefined && options.ids === undefined ? DEFAULT_PROMPT : undefined);
  if ((prompt === undefined) === (options.ids === undefined)) {
    throw new SubbitError("usage", "Give either --prompt TEXT or --ids FILE.");
  }
  if (options.chat === true && prompt === undefined) {
    throw new SubbitError("usage", "--chat renders a --prompt; ids are taken as they are.");
  }
  const given = options.ids === undefined ? undefined : await readIds(options.ids);
  return withRunningModel(
    context,
    source ?? defaultSource(),
    options,
    async ({ runtime, tokenizer, source: name }) => {
      const ids = given ?? encodePrompt(tokenizer(), prompt ?? "", options.chat === true, name);
      if (ids.length === 0) throw new SubbitError("usage", "The prompt has no tokens; give at least one.");
      if (!options.chat && prompt !== undefined) context.stream(prompt);
      const settings = { ...generateOptions(options), ignoreEos: options.ignoreEos === true };
      const result = await streamed(context, runtime, ids, settings);
      context.stream("\n");
      context.note(describeSpeed(result));
      return { json: generationJson(result) };
    },
  );
}

function encodePrompt(tokenizer: Tokenizer, prompt: string, chat: boolean, source: string): number[] {
  if (!chat) return tokenizer.encode(prompt, { addSpecialTokens: true });
  const rendered = tokenizer.renderChat([{ role: "user", content: prompt }], { addGenerationPrompt: true });
  if (rendered === undefined) throw inputError(`${source} has no chat template; leave --chat out.`);
  return tokenizer.encode(rendered);
}

/** Generates and streams the pieces; the iterator's last value is the whole result. */
export async function streamed(
  context: Context,
  runtime: RuntimeModel,
  ids: readonly number[],
  options: GenerateOptions,
): Promise<GenerationResult> {
  const tokens = runtime.generate(ids, { signal: context.signal, ...options });
  for (;;) {
    const step = await tokens.next();
    if (step.done === true) return step.value;
    context.stream(step.value.text);
  }
}

/** Fields of the contract. */
export function generationJson(result: GenerationResult): Record<string, unknown> {
  const { text, ids, promptTokens, prefillTokensPerSecond, decodeTokensPerSecond, stopReason } = result;
  return { text, ids, promptTokens, prefillTokensPerSecond, decodeTokensPerSecond, stopReason };
}

export function describeSpeed(result: GenerationResult): string {
  const { promptTokens, ids, prefillTokensPerSecond, decodeTokensPerSecond, stopReason } = result;
  return (
    `${promptTokens} prompt tokens at ${toPrecision(prefillTokensPerSecond, 3)}/s, ` +
    `${ids.length} new at ${toPrecision(decodeTokensPerSecond, 3)}/s (ended by ${stopReason})`
  );
}
