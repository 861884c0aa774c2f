// `npm run demo`: the quick start from a bare clone. Installs and builds what is missing, then runs `subbit demo`
// with the arguments given (`npm run demo -- --json`).
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."));

/** What set-up prints goes to standard error, so that `--json` keeps standard output for itself. */
function run(command, args) {
  // npm is a script on Windows, which only a shell starts.
  const shell = process.platform === "win32" && command === "npm";
  const { status, error } = spawnSync(command, args, { stdio: ["inherit", 2, "inherit"], shell });
  if (error) process.stderr.write(`${command} could not be started: ${error.message}\n`);
  if (status !== 0) {
    process.stderr.write(
      `The demo needs ${command} ${args.join(" ")} to succeed; run it to see why it does not.\n`,
    );
    process.exit(status ?? 1);
  }
}

const BUILT = ["packages/cli/dist/main.js", "packages/cli/dist/.tsbuildinfo"];

/** Newest change of any file below a folder, in ms; what is built or installed does not count. */
function newestMs(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (["node_modules", "dist", "generated", "test"].includes(entry.name)) continue;
    if (entry.name.endsWith(".test.ts")) continue;
    const path = join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestMs(path) : statSync(path).mtimeMs);
  }
  return newest;
}

function needsBuild() {
  if (!BUILT.every((path) => existsSync(path))) return true;
  const built = Math.max(...BUILT.map((path) => statSync(path).mtimeMs));
  return newestMs("packages") > built;
}

// npm writes this file last: without it an installation was cut off.
if (!existsSync("node_modules/.package-lock.json")) {
  process.stderr.write("Installing (npm ci) ...\n");
  run("npm", ["ci", "--no-audit", "--no-fund"]);
}
if (needsBuild()) {
  process.stderr.write("Building ...\n");
  run(process.execPath, ["scripts/build.mjs"]);
}
const demo = spawnSync(process.execPath, ["packages/cli/bin/subbit.js", "demo", ...process.argv.slice(2)], {
  stdio: "inherit",
});
process.exitCode = demo.status ?? 130;
