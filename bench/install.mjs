// `npm run bench:install`: node-llama-cpp with its CPU binary for this platform, into bench/node_modules. Its optional
// packages are over a gigabyte of GPU binaries, so they are left out and the one that is needed is asked for by name.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const BINARIES = {
  "linux x64": "linux-x64",
  "linux arm64": "linux-arm64",
  "darwin x64": "mac-x64",
  "darwin arm64": "mac-arm64-metal",
  "win32 x64": "win-x64",
  "win32 arm64": "win-arm64",
};

const here = import.meta.dirname;
const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const platform = `${process.platform} ${process.arch}`;
const binary = BINARIES[platform];
if (binary === undefined) {
  process.stderr.write(
    `node-llama-cpp has no binary for ${platform}; subbit bench works here without --against.\n`,
  );
  process.exit(1);
}
const version = dependencies["node-llama-cpp"];
const args = ["install", "--no-save", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
// npm is a script on Windows, which only a shell starts.
const shell = process.platform === "win32";
const npm = spawnSync("npm", [...args, `@node-llama-cpp/${binary}@${version}`], {
  cwd: here,
  stdio: "inherit",
  shell,
});
if (npm.status !== 0) process.exit(npm.status ?? 1);
process.stdout.write(`node-llama-cpp ${version} is installed in ${here}.\n`);
