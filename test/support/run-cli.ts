/** Runs the built command as a user would: its own process, its own exit code. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const REPOSITORY = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const LAUNCHER = join(REPOSITORY, "packages/cli/bin/subbit.js");

if (!existsSync(join(REPOSITORY, "packages/cli/dist/main.js"))) {
  throw new Error("The command is not built; run `npm run build` before these tests.");
}

export interface CliRun {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly input?: string;
  /** Called with the running process, to disturb it. */
  readonly onStart?: (child: ChildProcess) => void;
}

export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [LAUNCHER, ...args], {
      cwd: options.cwd ?? REPOSITORY,
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (exitCode, signal) => resolve({ exitCode, signal, stdout, stderr }));
    child.stdin.end(options.input ?? "");
    options.onStart?.(child);
  });
}

/** Runs with --json and parses the one object on standard output; fails loudly when there is anything else. */
export async function runJson<T = Record<string, unknown>>(
  args: readonly string[],
  options: CliOptions = {},
): Promise<T> {
  const run = await runCli([...args, "--json"], options);
  if (run.exitCode !== 0)
    throw new Error(`subbit ${args.join(" ")} ended with ${run.exitCode}: ${run.stderr}`);
  return JSON.parse(run.stdout) as T;
}
