/** Outputs are refused before any work when they exist, and appear whole or not at all. */
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { SubbitError } from "@subbit/core";

/** Throws `usage` when `path` exists and may not be replaced. */
export function assertWritable(path: string, overwrite: boolean): void {
  if (!overwrite && existsSync(path)) {
    throw new SubbitError("usage", `${path} exists already; give another name or --overwrite.`);
  }
}

/** `assertWritable` for a folder made from `sourcePath` (absent for a remote one), which may not be the source or hold it. */
export function assertOut(sourcePath: string | undefined, out: string, overwrite: boolean): void {
  assertWritable(out, overwrite);
  const target = resolve(out);
  if (sourcePath === target || sourcePath?.startsWith(target + sep) === true) {
    throw new SubbitError(
      "usage",
      `${out} would replace the source or a folder that holds it; give another name.`,
    );
  }
}

/** Lets `write` make a file beside `path` and moves it there when it is whole. */
export async function writeWhole(path: string, write: (partial: string) => Promise<void>): Promise<void> {
  const target = resolve(path);
  await mkdir(dirname(target), { recursive: true });
  const partial = `${target.replace(/(\.[^./\\]+)?$/, "")}.${process.pid}.partial${/\.[^./\\]+$/.exec(target)?.[0] ?? ""}`;
  try {
    await write(partial);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
