/** sha256 of a file of any size, streamed. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { throwIfAborted } from "../errors.js";
import type { OnProgress } from "../progress.js";
import { fileSource } from "./file-source.js";

const CHUNK_BYTES = 4 << 20;

export interface HashFileOptions {
  /** @default none */
  readonly signal?: AbortSignal;
}

/** Lower-case hexadecimal sha256 of the file's bytes. Throws `input` when it cannot be read. */
export async function hashFile(
  path: string,
  onProgress?: OnProgress,
  options: HashFileOptions = {},
): Promise<string> {
  const source = await fileSource(path);
  try {
    const hash = createHash("sha256");
    const total = source.sizeBytes;
    for (let done = 0; done < total;) {
      throwIfAborted(options.signal);
      const bytes = await source.read(done, Math.min(CHUNK_BYTES, total - done));
      hash.update(bytes);
      done += bytes.length;
      onProgress?.({ stage: `hash ${basename(path)}`, done, total, unit: "bytes" });
    }
    return hash.digest("hex");
  } finally {
    await source.close();
  }
}
