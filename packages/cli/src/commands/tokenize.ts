/** `subbit tokenize`: text to ids and back, and chat messages to a prompt. */
import { inputError, SubbitError } from "@subbit/core";
import { readTextFile } from "@subbit/core/node";
import type { Command } from "commander";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { readIds, readMessages } from "../json-files.js";
import { withTokenizer } from "../open-source.js";
import { commandOf, examples } from "../options/common.js";

interface TokenizeOptions extends CommonOptions {
  readonly text?: string;
  readonly file?: string;
  readonly decode?: string;
  readonly chat?: string;
  readonly special?: boolean;
  readonly skipSpecial?: boolean;
  readonly generationPrompt: boolean;
}

export function addTokenize(program: Command): void {
  commandOf(program, "tokenize <source>", "turn text into token ids and back")
    .option("--text <text>", "text to turn into ids")
    .option("--file <file>", "file whose text to turn into ids")
    .option("--decode <file>", "JSON array of ids to turn into text")
    .option("--chat <file>", "JSON array of {role, content} messages to render by the chat template")
    .option("--special", "add the special tokens that the tokenizer adds by itself")
    .option("--skip-special", "leave special tokens out of decoded text")
    .option("--no-generation-prompt", "with --chat: end after the last message")
    .addHelpText(
      "after",
      examples(
        'subbit tokenize stories-11m --text "Once upon a time"',
        "subbit tokenize MODEL --chat messages.json --json",
      ),
    )
    .action((source: string, options: TokenizeOptions) =>
      execute(options, (context) => tokenize(context, source, options)),
    );
}

async function tokenize(context: Context, source: string, options: TokenizeOptions): Promise<CommandResult> {
  const given = [options.text, options.file, options.decode, options.chat].filter(
    (value) => value !== undefined,
  );
  if (given.length !== 1) {
    throw new SubbitError(
      "usage",
      `Give exactly one of --text, --file, --decode and --chat; ${given.length} were given.`,
    );
  }
  return withTokenizer(context, source, async (tokenizer) => {
    const skipSpecialTokens = options.skipSpecial === true;
    if (options.decode !== undefined) {
      const ids = await readIds(options.decode);
      const stray = ids.find((id) => id >= tokenizer.vocabSize);
      if (stray !== undefined)
        throw inputError(
          `${options.decode} holds the id ${stray}, but the vocabulary has ${tokenizer.vocabSize} tokens.`,
        );
      const text = tokenizer.decode(ids, { skipSpecialTokens });
      return { json: { ids, text }, text };
    }
    if (options.chat !== undefined) {
      const prompt = tokenizer.renderChat(await readMessages(options.chat), {
        addGenerationPrompt: options.generationPrompt,
      });
      if (prompt === undefined) throw inputError(`${source} has no chat template; use --text.`);
      const ids = tokenizer.encode(prompt);
      return { json: { ids, text: tokenizer.decode(ids, { skipSpecialTokens }), prompt }, text: prompt };
    }
    const text = options.text ?? (await readTextFile(options.file ?? ""));
    const ids = tokenizer.encode(text, { addSpecialTokens: options.special === true });
    return { json: { ids, text: tokenizer.decode(ids, { skipSpecialTokens }) }, text: ids.join(" ") };
  });
}
