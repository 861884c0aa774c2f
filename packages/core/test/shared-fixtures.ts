/** Larger fixtures lie beside the repository (`../shared`, or where SUBBIT_SHARED says); tests that need them are skipped where they are absent. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe } from "vitest";

/** Path of something in the folder beside the repository. */
export function sharedPath(...parts: string[]): string {
  const beside = join(import.meta.dirname, "..", "..", "..", "..", "shared");
  return join(process.env.SUBBIT_SHARED ?? beside, ...parts);
}

/** `describe` where the fixtures are there; says so in the test's name where they are not. */
export function describeWithShared(name: string, folder: string[], body: () => void): void {
  const present = existsSync(sharedPath(...folder));
  describe.skipIf(!present)(
    present ? name : `${name} (skipped: ../shared/${folder.join("/")} is absent)`,
    body,
  );
}

/** Reproducible random numbers in [0, 1): mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
