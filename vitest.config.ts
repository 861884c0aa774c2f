import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

/** Tests import other packages through their built `dist`, as users do: build first. */
export default defineConfig({
  test: {
    include: ["packages/*/src/**/*.test.ts", "packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
    // Two cores: more workers only starve one another.
    maxWorkers: 2,
    // What is measured under test is nobody's choice of threads.
    env: { SUBBIT_CACHE: join(tmpdir(), "subbit-test-cache") },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
