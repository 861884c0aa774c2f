/** Output folders appear whole or not at all: written beside their place under a hidden name, then renamed. */
import { mkdir, readdir, rename, rm, statfs } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { SubbitError } from "../errors.js";

export interface WriteFolderOptions {
  /** Replaces an existing model folder. @default false */
  readonly overwrite?: boolean;
  /** Bytes that will be written, checked against the free space first. @default not checked */
  readonly expectedBytes?: number;
}

/** What marks a folder as one that may be replaced: nothing else is ever deleted. */
const MODEL_FILES = ["config.json", "subbit.json"];

/**
 * Throws `usage` when `folder` exists and may not be replaced. Long jobs call it before they start.
 */
export async function checkTarget(folder: string, options: { overwrite?: boolean } = {}): Promise<void> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return;
    throw new SubbitError(
      "usage",
      `The output ${folder} exists and is not a folder that can be replaced; choose another.`,
      {
        cause: error,
      },
    );
  }
  if (names.length === 0) return;
  if (options.overwrite !== true) {
    throw new SubbitError(
      "usage",
      `The output folder ${folder} exists; pass --overwrite to replace it, or choose another.`,
    );
  }
  if (!MODEL_FILES.some((name) => names.includes(name))) {
    throw new SubbitError(
      "usage",
      `The output folder ${folder} holds no model, so it is not replaced; choose another.`,
    );
  }
}

/**
 * Calls `write` with an empty folder beside `folder` and renames it into place when that succeeds; removes it when not.
 * A remainder of a killed run is cleared. Throws `usage` for an existing target, `resources` when space runs out.
 */
export async function writeFolder<T>(
  folder: string,
  options: WriteFolderOptions,
  write: (temporary: string) => Promise<T>,
): Promise<T> {
  const target = resolve(folder);
  const parent = dirname(target);
  const temporary = join(parent, `.${basename(target)}.partial`);
  const old = join(parent, `.${basename(target)}.old`);
  await checkTarget(target, options);
  try {
    await mkdir(parent, { recursive: true });
    await checkSpace(parent, options.expectedBytes ?? 0, folder);
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary);
    const result = await write(temporary);
    await checkTarget(target, options);
    await rm(old, { recursive: true, force: true });
    const replaced = await moveAside(target, old);
    try {
      await rename(temporary, target);
    } catch (error) {
      if (replaced) await rename(old, target);
      throw error;
    }
    await rm(old, { recursive: true, force: true });
    return result;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw explain(error, folder);
  }
}

async function moveAside(target: string, old: string): Promise<boolean> {
  try {
    await rename(target, old);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

async function checkSpace(parent: string, bytes: number, folder: string): Promise<void> {
  if (bytes === 0) return;
  const { bavail, bsize } = await statfs(parent);
  const free = bavail * bsize;
  if (free < bytes) {
    throw new SubbitError(
      "resources",
      `Writing ${folder} takes ${bytes} bytes, but only ${free} are free; free some or choose another disk.`,
    );
  }
}

function explain(error: unknown, folder: string): unknown {
  if (error instanceof SubbitError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new SubbitError(
      "resources",
      `No space is left to write ${folder}; free some or choose another disk.`,
      {
        cause: error,
      },
    );
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR") {
    return new SubbitError(
      "usage",
      `The output folder ${folder} cannot be written (${code}); choose another.`,
      {
        cause: error,
      },
    );
  }
  return error;
}
