/** Local files and folders as byte sources, read by position and never whole. */
import type { Stats } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { isPlainFileName } from "../checkpoints/file-names.js";
import { allocate, requireRange } from "../checkpoints/sources.js";
import type { ByteSource, FileSet } from "../checkpoints/types.js";
import type { SubbitError } from "../errors.js";
import { inputError } from "../errors.js";

/** One read system call takes less than 2^31 bytes. */
const MAX_READ_BYTES = 1 << 30;

/** `undefined` where nothing is at the path; `input` where it cannot be looked at. */
export async function statPath(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw unreadable(path, cause);
  }
}

/** Opens a local file. Throws `input` when there is none, or it is not a regular file. */
export async function fileSource(path: string): Promise<ByteSource> {
  const found = await statPath(path);
  if (found === undefined) throw inputError(`There is no file at ${path}.`);
  // Looked at before it is opened: opening a pipe would wait for its writer.
  if (!found.isFile()) throw inputError(`${path} is not a file.`);
  const handle = await open(path, "r").catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  const { size } = await handle.stat();
  const fill = async (offset: number, target: Uint8Array): Promise<void> => {
    for (let done = 0; done < target.byteLength;) {
      const part = Math.min(target.byteLength - done, MAX_READ_BYTES);
      const { bytesRead } = await handle.read(target, done, part, offset + done).catch((cause: unknown) => {
        throw unreadable(path, cause);
      });
      if (bytesRead === 0) throw inputError(`${source.name} became shorter while it was read.`);
      done += bytesRead;
    }
  };
  const source: ByteSource = {
    name: basename(path),
    sizeBytes: size,
    read: async (offset, length) => {
      requireRange(source, offset, length);
      const bytes = allocate(length, `${length} bytes of ${source.name}`);
      await fill(offset, bytes);
      return bytes;
    },
    readInto: async (offset, target) => {
      requireRange(source, offset, target.byteLength);
      await fill(offset, target);
    },
    close: () => handle.close(),
  };
  return source;
}

/** The regular files of a folder. Only plain file names are opened, so nothing outside the folder can be named (CWE-22). */
export function folderFiles(dir: string): FileSet {
  return {
    name: dir,
    list: async () => {
      const entries = await readdir(dir).catch((cause: unknown) => {
        throw unreadable(dir, cause);
      });
      return entries.sort();
    },
    open: async (fileName) => {
      if (!isPlainFileName(fileName)) return undefined;
      const path = join(dir, fileName);
      // A link is followed: the Hugging Face cache keeps its files behind links.
      return (await statPath(path))?.isFile() ? fileSource(path) : undefined;
    },
  };
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === "ENOENT" || code === "ENOTDIR";
}

function unreadable(path: string, cause: unknown): SubbitError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return inputError(`${path} cannot be read (${reason}).`, { cause });
}
