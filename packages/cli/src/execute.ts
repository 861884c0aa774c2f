/** Runs one command's body: interruption, progress and printing are here, so that commands only compute. */
import { createContext, type CommandResult, type CommonOptions, type Context } from "./context.js";

export type Execute = (
  options: CommonOptions,
  body: (context: Context) => Promise<CommandResult>,
) => Promise<void>;

/** The exit code of a second Ctrl-C, and of the first one once the work has stopped (128 + SIGINT). */
const INTERRUPTED = 130;

export const execute: Execute = async (options, body) => {
  const controller = new AbortController();
  const { context, display } = createContext(options, controller.signal);
  const onInterrupt = (): void => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    display.line("Stopping; what is done is kept (Ctrl-C again stops at once).");
    controller.abort();
  };
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onInterrupt);
  try {
    const result = await body(context);
    display.finish();
    if (context.json) process.stdout.write(`${JSON.stringify(result.json)}\n`);
    else if (result.text !== undefined) process.stdout.write(`${result.text}\n`);
  } catch (error) {
    display.abandon();
    throw error;
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
  }
};
