#!/usr/bin/env node
// The launcher: everything is in dist, which a fresh clone does not have yet.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(fileURLToPath(main))) {
  const { runProcess } = await import(main.href);
  await runProcess();
} else {
  process.stderr.write("subbit is not built yet; run `npm ci && npm run build` in its repository first.\n");
  process.exitCode = 1;
}
