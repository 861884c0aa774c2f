/** `subbit chat`: a conversation in the terminal, or with lines from a pipe. */
import { createInterface, type Interface } from "node:readline";
import { SubbitError } from "@subbit/core";
import type { GenerateOptions, RuntimeModel } from "@subbit/runtime";
import type { Command } from "commander";
import { createConversation, type Conversation } from "../chat/conversation.js";
import type { CommandResult, CommonOptions, Context } from "../context.js";
import { execute } from "../execute.js";
import { commandOf, examples, kvBitsOption, threadsOption } from "../options/common.js";
import { addSamplingOptions, generateOptions, type SamplingOptions } from "../options/sampling.js";
import {
  defaultSource,
  fastOption,
  runDeviceOption,
  withRunningModel,
  type RunOptions,
} from "../running-model.js";
import { streamed } from "./generate.js";

interface ChatOptions extends CommonOptions, RunOptions, SamplingOptions {
  readonly system?: string;
}

const HELP =
  "/help shows this, /reset forgets the conversation, /exit (or Ctrl-D) leaves; Ctrl-C stops an answer.";

export function addChat(program: Command): void {
  const command = commandOf(
    program,
    "chat [source]",
    "talk with a model (default source: the shipped packed model)",
  ).option("--system <text>", "system message");
  addSamplingOptions(command, { maxTokens: 256 })
    .addOption(threadsOption())
    .addOption(runDeviceOption())
    .addOption(fastOption())
    .addOption(kvBitsOption())
    .addHelpText("after", examples("subbit chat", 'subbit chat MODEL --system "Answer in one sentence."'))
    .action((source: string | undefined, options: ChatOptions) =>
      execute(options, (context) => chat(context, source, options)),
    );
}

interface Turn {
  readonly user: string;
  readonly model: string;
}

function chat(context: Context, source: string | undefined, options: ChatOptions): Promise<CommandResult> {
  const name = source ?? defaultSource();
  return withRunningModel(context, name, options, async ({ runtime, tokenizer }) => {
    const conversation = createConversation(tokenizer(), {
      maxPositions: runtime.contextTokens,
      maxTokens: options.maxTokens,
      system: options.system,
    });
    context.note(
      conversation.templated
        ? `Talking with ${name}. ${HELP}`
        : `${name} has no chat template: it continues what you write. ${HELP}`,
    );
    const turns = await talk(context, runtime, conversation, generateOptions(options));
    return { json: { turns } };
  });
}

async function talk(
  context: Context,
  runtime: RuntimeModel,
  conversation: Conversation,
  settings: GenerateOptions,
): Promise<Turn[]> {
  const terminal = process.stdin.isTTY && !context.json;
  const lines = createInterface({
    input: process.stdin,
    ...(terminal && { output: process.stdout }),
    terminal,
    prompt: "> ",
  });
  const stopOnInterrupt = interrupts(lines);
  const close = (): void => lines.close();
  context.signal.addEventListener("abort", close);
  const turns: Turn[] = [];
  let seed = settings.seed ?? 0;
  try {
    if (terminal) lines.prompt();
    for await (const line of lines) {
      const text = line.trim();
      if (text === "/exit" || text === "/quit") break;
      if (text === "/reset") {
        conversation.reset();
        context.note("Forgotten.");
      } else if (text === "/help") {
        context.note(HELP);
      } else if (text.startsWith("/")) {
        context.note(`There is no ${text.split(" ", 1)[0]}. ${HELP}`);
      } else if (text !== "") {
        turns.push(await turn(context, runtime, conversation, text, { ...settings, seed }, stopOnInterrupt));
        // The same question again should not give the same answer, yet the whole conversation repeats by its seed.
        seed++;
      }
      if (context.signal.aborted) break;
      if (terminal) lines.prompt();
    }
  } finally {
    context.signal.removeEventListener("abort", close);
    lines.close();
  }
  if (context.signal.aborted) throw new SubbitError("interrupted", "Interrupted.");
  return turns;
}

async function turn(
  context: Context,
  runtime: RuntimeModel,
  conversation: Conversation,
  text: string,
  settings: GenerateOptions,
  stopOnInterrupt: (controller: AbortController | undefined) => void,
): Promise<Turn> {
  const { ids, forgotten } = conversation.ask(text);
  if (forgotten) context.note("(The beginning of the conversation no longer fits and is forgotten.)");
  const controller = new AbortController();
  stopOnInterrupt(controller);
  let answer = "";
  const listening: Context = {
    ...context,
    stream: (piece) => {
      answer += piece;
      context.stream(piece);
    },
  };
  try {
    const signal = AbortSignal.any([context.signal, controller.signal]);
    await streamed(listening, runtime, ids, { ...settings, signal });
  } catch (error) {
    // A stopped answer stays in the conversation as far as it went.
    if (!(error instanceof SubbitError && error.code === "interrupted")) throw error;
  } finally {
    stopOnInterrupt(undefined);
  }
  context.stream("\n");
  conversation.answer(answer);
  return { user: text, model: answer };
}

/** Ctrl-C in the line editor: stops the answer that is running, else leaves. */
function interrupts(lines: Interface): (controller: AbortController | undefined) => void {
  let running: AbortController | undefined;
  lines.on("SIGINT", () => {
    if (running) running.abort();
    else lines.close();
  });
  return (controller) => {
    running = controller;
  };
}
