/** Reference data that lies beside the repository, where it does; tests that need it are skipped elsewhere. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { REPOSITORY } from "./run-cli.js";

const SHARED = join(REPOSITORY, "..", "shared");

export const hasShared = existsSync(join(SHARED, "fixtures"));

export function shared(...parts: string[]): string {
  return join(SHARED, ...parts);
}

/** Checks that take minutes run where SUBBIT_SLOW_TESTS is set. */
export const slowTests = (process.env["SUBBIT_SLOW_TESTS"] ?? "") !== "";
