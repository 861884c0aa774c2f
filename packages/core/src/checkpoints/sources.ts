/** Byte sources and file sets in memory and over Blobs (browser `File`s, and Node's `openAsBlob`). */
import { SubbitError, inputError } from "../errors.js";
import { isPlainFileName } from "./file-names.js";
import type { ByteSource, FileSet } from "./types.js";

/** Throws unless [offset, offset + length) lies inside the source. */
export function requireRange(source: ByteSource, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new SubbitError("internal", `A read of ${length} bytes at ${offset} of ${source.name} was asked.`);
  }
  if (offset + length > source.sizeBytes) {
    throw inputError(
      `${source.name} ends after ${source.sizeBytes} bytes, but bytes ${offset} to ${offset + length} were expected; ` +
        `the file is truncated or damaged, fetch it again.`,
    );
  }
}

/** Largest piece that is copied at once where a source cannot fill memory itself. */
const COPY_BYTES = 4 * 2 ** 20;

/** Fills `target`, which may be a view of shared memory, with the bytes of `source` from `offset` on. */
export async function readInto(source: ByteSource, offset: number, target: Uint8Array): Promise<void> {
  if (source.readInto !== undefined) return source.readInto(offset, target);
  requireRange(source, offset, target.byteLength);
  for (let done = 0; done < target.byteLength; done += COPY_BYTES) {
    const length = Math.min(COPY_BYTES, target.byteLength - done);
    target.set(await source.read(offset + done, length), done);
  }
}

/** A `resources` error when the array cannot be had. */
export function allocate(bytes: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    const message = `Reading ${what} needs ${bytes} bytes at once, which could not be had; read it by rows.`;
    throw new SubbitError("resources", message, { cause });
  }
}

/** Bytes that are already in memory. */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  const source: ByteSource = {
    name,
    sizeBytes: bytes.byteLength,
    read: (offset, length) =>
      Promise.resolve().then(() => {
        requireRange(source, offset, length);
        return bytes.slice(offset, offset + length);
      }),
    readInto: (offset, target) =>
      Promise.resolve().then(() => {
        requireRange(source, offset, target.byteLength);
        target.set(bytes.subarray(offset, offset + target.byteLength));
      }),
    close: () => Promise.resolve(),
  };
  return source;
}

/** A Blob or File, read by slices. */
export function blobSource(blob: Blob, name: string): ByteSource {
  const source: ByteSource = {
    name,
    sizeBytes: blob.size,
    read: async (offset, length) => {
      requireRange(source, offset, length);
      const bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      if (bytes.byteLength !== length) {
        throw inputError(
          `${name} gave ${bytes.byteLength} bytes where ${length} were asked; it changed meanwhile.`,
        );
      }
      return bytes;
    },
    close: () => Promise.resolve(),
  };
  return source;
}

/**
 * A folder held as Blobs by file name, such as the files of a browser's folder picker.
 *
 * @param name what to call it in messages @default "the given files"
 */
export function blobFiles(files: ReadonlyMap<string, Blob>, name = "the given files"): FileSet {
  return {
    name,
    list: () => Promise.resolve([...files.keys()]),
    open: (fileName) => {
      const blob = isPlainFileName(fileName) ? files.get(fileName) : undefined;
      return Promise.resolve(blob && blobSource(blob, fileName));
    },
  };
}
