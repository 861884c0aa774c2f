/** A torch file on disk. */
import { open, rm } from "node:fs/promises";
import { basename } from "node:path";
import { declaredBytes, type TensorToWrite } from "../checkpoints/safetensors/encode.js";
import { writePickle } from "../checkpoints/pickle/write.js";
import type { OnProgress } from "../progress.js";

export interface WritePickleFileOptions {
  /** @default none */
  readonly onProgress?: OnProgress;
  /** @default none */
  readonly signal?: AbortSignal;
}

/** Writes tensors to `path` as torch.save does, and flushes to disk; the file's bytes. On failure nothing is left. */
export async function writePickleFile(
  path: string,
  tensors: readonly TensorToWrite[],
  { onProgress, signal }: WritePickleFileOptions = {},
): Promise<number> {
  const total = tensors.reduce((sum, tensor) => sum + declaredBytes(tensor), 0);
  const handle = await open(path, "w");
  let fileBytes = 0;
  let done = 0;
  try {
    const sink = new WritableStream<Uint8Array>({
      write: async (chunk) => {
        for (let at = 0; at < chunk.length;) {
          const { bytesWritten } = await handle.write(chunk, at, chunk.length - at);
          at += bytesWritten;
        }
        fileBytes += chunk.length;
      },
    });
    await writePickle(sink, tensors, {
      root: basename(path).replace(/\.[^.]*$/, ""),
      signal,
      onBytes: (bytes) => {
        done += bytes;
        onProgress?.({ stage: `write ${basename(path)}`, done, total, unit: "bytes" });
      },
    });
    await handle.sync();
  } catch (error) {
    await handle.close();
    await rm(path, { force: true });
    throw error;
  }
  await handle.close();
  return fileBytes;
}
