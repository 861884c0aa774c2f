// Builds every package in dependency order: WebAssembly kernels first (their bytes become a TypeScript module), then tsc -b.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

const run = (command, args) => execFileSync(command, args, { stdio: "inherit" });

if (existsSync("packages/runtime/scripts/build-wasm.mjs"))
  run("node", ["packages/runtime/scripts/build-wasm.mjs"]);
run("node", ["node_modules/typescript/bin/tsc", "-b"]);
