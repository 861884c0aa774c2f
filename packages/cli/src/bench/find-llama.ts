/** node-llama-cpp is nobody's dependency here (its GPU binaries weigh a gigabyte): it is used where somebody installed it. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SubbitError } from "@subbit/core";

/** Its main file, found from the current folder or from `bench/` of the repository. Throws `usage` saying how to install it. */
export function findLlama(from: readonly string[] = places()): string {
  for (const folder of from) {
    try {
      return createRequire(join(folder, "resolve.js")).resolve("node-llama-cpp");
    } catch {
      // The next place may have it.
    }
  }
  throw new SubbitError(
    "usage",
    "--against runs a GGUF file in node-llama-cpp, which is not installed; run `npm run bench:install` in the repository of subbit, or `npm install node-llama-cpp` in the current folder.",
  );
}

function places(): string[] {
  const packageRoot = fileURLToPath(new URL("../..", import.meta.url));
  return [process.cwd(), join(packageRoot, "..", "..", "bench")];
}
