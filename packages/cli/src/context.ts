/** What every command is given: where to write, how to report progress, when to stop. */
import type { OnProgress } from "@subbit/core";
import { ProgressDisplay } from "./output/progress.js";
import { createStyle, type Style } from "./output/style.js";

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly debug?: boolean;
}

/** What a command returns: its figures for programs, its text for people. */
export interface CommandResult {
  readonly json: Readonly<Record<string, unknown>>;
  /** Absent where the command has already streamed its text. */
  readonly text?: string;
}

export interface Context {
  /** Standard output is for one JSON object; nothing may be streamed to it. */
  readonly json: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** For text on standard output. */
  readonly style: Style;
  /** One sentence on standard error. */
  warn(sentence: string): void;
  /** A line for people while the work runs: standard output, or standard error under --json. */
  say(line: string): void;
  /** A remark beside the output: standard error, not when quiet. */
  note(line: string): void;
  /** A piece of text for people as it is made; dropped under --json. */
  stream(text: string): void;
  /** Ends the progress line, before other text is written. */
  endProgress(): void;
}

export interface ContextOwner {
  readonly context: Context;
  readonly display: ProgressDisplay;
}

export function createContext(options: CommonOptions, signal: AbortSignal): ContextOwner {
  const json = options.json === true;
  const errorStyle = createStyle(process.stderr, process.env);
  const display = new ProgressDisplay({
    target: process.stderr,
    style: errorStyle,
    quiet: options.quiet === true,
  });
  const context: Context = {
    json,
    signal,
    onProgress: display.onProgress,
    style: createStyle(process.stdout, process.env),
    warn: (sentence) => display.line(`${errorStyle.yellow("warning:")} ${sentence}`),
    say: (line) => {
      if (json) {
        if (options.quiet !== true) display.line(line);
        return;
      }
      display.finish();
      process.stdout.write(`${line}\n`);
    },
    note: (line) => {
      if (options.quiet !== true) display.line(errorStyle.dim(line));
    },
    stream: (text) => {
      if (!json) process.stdout.write(text);
    },
    endProgress: () => display.finish(),
  };
  return { context, display };
}
