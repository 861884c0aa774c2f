/** From arguments to an exit code. */
import { CommanderError } from "commander";
import { EXIT, failureOf } from "./exit-codes.js";
import { createStyle } from "./output/style.js";
import { createProgram } from "./program.js";

/** Runs the command line `args` (without node and script). Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(args, { from: "user" });
    return EXIT.done;
  } catch (error) {
    // Help and version end this way too.
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    return reportFailure(error, args);
  }
}

function reportFailure(error: unknown, args: readonly string[]): number {
  const failure = failureOf(error);
  if (error instanceof CommanderError && error.code === "commander.help") return failure.exitCode;
  const style = createStyle(process.stderr, process.env);
  const label = failure.exitCode === EXIT.interrupted ? "" : `${style.red("error:")} `;
  process.stderr.write(`${label}${failure.sentence}\n`);
  if (args.includes("--debug") && error instanceof Error) process.stderr.write(`${stackOf(error)}\n`);
  if (args.includes("--json")) {
    process.stdout.write(`${JSON.stringify({ error: { code: failure.code, message: failure.sentence } })}\n`);
  }
  return failure.exitCode;
}

function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}

/** The process of `bin/subbit.js`: runs, flushes, leaves. */
export async function runProcess(): Promise<void> {
  const args = process.argv.slice(2);
  // `subbit ... | head` closes our output early; that is the reader's right, not an error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(EXIT.done);
    throw error;
  });
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(event, (error: unknown) => process.exit(reportFailure(error, args)));
  }
  const exitCode = await main(args);
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  // Worker threads and native sessions may still be alive; the work is done.
  process.exit(exitCode);
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write("", () => resolve());
  });
}
