// The `subbit` command that users type, for scripts that measure it.
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Runs `subbit ARGS --json` in a process of its own; what it printed, or `undefined` when it ended in an error. */
export function subbit(args) {
  const launcher = join(import.meta.dirname, "..", "packages", "cli", "bin", "subbit.js");
  const run = spawnSync(process.execPath, [launcher, ...args, "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (run.status === 0) return JSON.parse(run.stdout);
  console.error(`subbit ${args.join(" ")} ended with ${run.status}`);
  return undefined;
}

/** What rows keep of a result of `compress`. */
export function figuresOf({ bpw, paperBpw, fileBytes, seconds, cpuSeconds, peakRssBytes, quality, stages }) {
  return { bpw, paperBpw, fileBytes, seconds, cpuSeconds, peakRssBytes, quality, stages };
}
