/** Whole data sets and reference figures lie beside the repository (`../shared`); tests of them are skipped where they are absent. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe } from "vitest";

export function sharedPath(...parts: string[]): string {
  return join(import.meta.dirname, "..", "..", "..", "..", "shared", ...parts);
}

/** `describe` where all folders are there; says so in the test's name where they are not. */
export function describeWithShared(name: string, folders: readonly string[], body: () => void): void {
  const absent = folders.find((folder) => !existsSync(sharedPath(folder)));
  describe.skipIf(absent !== undefined)(
    absent === undefined ? name : `${name} (skipped: ../shared/${absent} is absent)`,
    body,
  );
}

/** One JSON value a line, compressed or not. */
export function readLines<T>(path: string): T[] {
  const bytes = readFileSync(path);
  const text = (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}
