/** Files that appear whole or not at all: written beside, synced, renamed, and the folder synced too. */
import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { SubbitError } from "@subbit/core";

export async function writeAtomically(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const beside = `${path}.tmp`;
  try {
    const file = await open(beside, "w");
    try {
      for (const part of parts) await writeWhole(file, part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    if (isCode(error, "ENOSPC")) {
      throw new SubbitError(
        "resources",
        `No space left while writing ${path}; free some and run the same command again.`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

async function writeWhole(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  // One write call may take fewer bytes than given (Linux stops at 2 GiB).
  for (let at = 0; at < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, at, Math.min(bytes.byteLength - at, 2 ** 30));
    at += bytesWritten;
  }
}

async function syncFolder(path: string): Promise<void> {
  // Some systems cannot open or sync a folder; the rename is then as durable as they make it.
  try {
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    if (!isCode(error, "EISDIR", "EPERM", "EINVAL", "EACCES", "ENOTSUP")) throw error;
  }
}

/** Whether a system error carries one of these codes. */
export function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

/** The whole file, whatever its size (one call of the system stops at 2 GiB); undefined when there is none. */
export async function readWhole(path: string): Promise<Uint8Array | undefined> {
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    const bytes = new Uint8Array((await file.stat()).size);
    let at = 0;
    while (at < bytes.byteLength) {
      const { bytesRead } = await file.read(bytes, at, Math.min(bytes.byteLength - at, 2 ** 30), at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    await file.close();
  }
}
