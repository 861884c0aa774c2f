/** Safetensors files written to disk tensor by tensor, in one file or in shards with an index, as Hugging Face does. */
import { open, rm, writeFile, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  declaredBytes,
  encodeSafetensorsHeader,
  inFileOrder,
  tensorData,
  type SafetensorsMetadata,
  type TensorToWrite,
} from "../checkpoints/safetensors/encode.js";
import { SubbitError, throwIfAborted } from "../errors.js";
import type { OnProgress } from "../progress.js";

export interface WriteSafetensorsOptions extends SafetensorsMetadata {
  /** Above this many bytes of tensors, shards `name-00001-of-0000N.safetensors` and an index are written. @default one file */
  readonly maxShardBytes?: number;
  /** @default none */
  readonly onProgress?: OnProgress;
  /** @default none */
  readonly signal?: AbortSignal;
}

export interface WrittenSafetensors {
  /** Names of the files written, in the folder of `path`; the index last. */
  readonly files: readonly string[];
  /** Bytes of the weight files (without the index). */
  readonly fileBytes: number;
}

/**
 * Writes tensors to `path` (which ends in `.safetensors`), each fetched only when its turn comes, and flushes to disk.
 * On failure what was written is removed. Throws `usage` for bad declarations, `resources` when the disk is full.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  options: WriteSafetensorsOptions = {},
): Promise<WrittenSafetensors> {
  const shards = splitIntoShards([...tensors], options.maxShardBytes ?? Infinity);
  const names = shardNames(basename(path), shards.length);
  const total = shards.flat().reduce((sum, tensor) => sum + declaredBytes(tensor), 0);
  const written: string[] = [];
  const weightMap = new Map<string, string>();
  let fileBytes = 0;
  let done = 0;
  try {
    for (const [index, shard] of shards.entries()) {
      const name = names[index];
      written.push(name);
      fileBytes += await writeFileOf(join(dirname(path), name), shard, options, (bytes) => {
        done += bytes;
        options.onProgress?.({ stage: `write ${basename(path)}`, done, total, unit: "bytes" });
      });
      for (const tensor of shard) weightMap.set(tensor.name, name);
    }
    if (shards.length > 1) {
      const indexName = `${basename(path)}.index.json`;
      written.push(indexName);
      await writeFile(join(dirname(path), indexName), encodeIndex(weightMap, total), { flush: true });
    }
  } catch (error) {
    await Promise.all(written.map((name) => rm(join(dirname(path), name), { force: true })));
    throw asResources(error, path);
  }
  return { files: written, fileBytes };
}

/** Filled one after the other, in the given order; a tensor above the limit gets a shard of its own. */
function splitIntoShards(tensors: readonly TensorToWrite[], maxBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const size = declaredBytes(tensor);
    if (bytes + size > maxBytes && shards.at(-1)!.length > 0) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(tensor);
    bytes += size;
  }
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name))
      throw new SubbitError("usage", `Two tensors were to be written under the name ${name}.`);
    names.add(name);
  }
  return shards;
}

function shardNames(name: string, count: number): string[] {
  if (count === 1) return [name];
  const stem = name.replace(/\.safetensors$/, "");
  const five = (n: number): string => String(n).padStart(5, "0");
  return Array.from({ length: count }, (_, i) => `${stem}-${five(i + 1)}-of-${five(count)}.safetensors`);
}

async function writeFileOf(
  path: string,
  tensors: readonly TensorToWrite[],
  options: WriteSafetensorsOptions,
  onBytes: (bytes: number) => void,
): Promise<number> {
  const ordered = inFileOrder(tensors);
  const header = encodeSafetensorsHeader(ordered, options);
  const handle = await open(path, "w");
  try {
    await writeAll(handle, header);
    let bytes = header.length;
    for (const tensor of ordered) {
      throwIfAborted(options.signal);
      const data = await tensorData(tensor);
      await writeAll(handle, data);
      bytes += data.length;
      onBytes(data.length);
    }
    await handle.sync();
    return bytes;
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, data: Uint8Array): Promise<void> {
  const step = 1 << 30; // one write system call takes less than 2^31 bytes
  for (let at = 0; at < data.length;) {
    const { bytesWritten } = await handle.write(data, at, Math.min(step, data.length - at));
    at += bytesWritten;
  }
}

function encodeIndex(weightMap: ReadonlyMap<string, string>, totalSize: number): string {
  const sorted = Object.fromEntries([...weightMap].sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ metadata: { total_size: totalSize }, weight_map: sorted }, null, 2)}\n`;
}

function asResources(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return new SubbitError(
    "resources",
    `No space is left to write ${path}; free some or choose another disk.`,
    { cause: error },
  );
}
