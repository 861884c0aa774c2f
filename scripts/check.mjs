// `npm run check`: everything that must hold before a change lands, from a bare clone on.
// Prints each step with its time; the last line is the test count, `N passed, N failed`.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const bin = (name) => join("node_modules", name);
const reportDir = mkdtempSync(join(tmpdir(), "subbit-check-"));
const report = join(reportDir, "tests.json");

const steps = [
  ...(existsSync("node_modules/.package-lock.json") ? [] : [["install", "npm", ["ci"]]]),
  ["build", "node", ["scripts/build.mjs"]],
  ["format", "node", [bin("prettier/bin/prettier.cjs"), "--check", "."]],
  ["lint", "node", [bin("eslint/bin/eslint.js"), ".", "--max-warnings", "0"]],
  [
    "layers",
    "node",
    [bin("dependency-cruiser/bin/dependency-cruise.mjs"), "--config", ".dependency-cruiser.cjs", "packages"],
  ],
  ["unused", "node", [bin("knip/bin/knip.js")]],
  [
    "tests",
    "node",
    [bin("vitest/vitest.mjs"), "run", "--reporter=default", "--reporter=json", `--outputFile=${report}`],
  ],
];

let brokenSteps = 0;
for (const [name, command, args] of steps) {
  const started = Date.now();
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`${status === 0 ? "ok    " : "BROKEN"} ${name} (${seconds} s)`);
  if (status !== 0) brokenSteps++;
  if (status !== 0 && (name === "install" || name === "build")) break;
}

const counts = existsSync(report)
  ? JSON.parse(readFileSync(report, "utf8"))
  : { numPassedTests: 0, numFailedTests: 0 };
rmSync(reportDir, { recursive: true, force: true });
// A broken step that is not a test still counts as a failure, so that the closing line tells the truth.
const failed = counts.numFailedTests + (brokenSteps > 0 && counts.numFailedTests === 0 ? brokenSteps : 0);
console.log(`${counts.numPassedTests} passed, ${failed} failed`);
process.exitCode = failed === 0 && counts.numPassedTests > 0 ? 0 : 1;
