/** The weights of a folder: a single file under its usual name, or the shards that an index names. */
import { inputError } from "../errors.js";
import { requirePlainFileName } from "./file-names.js";
import { isJsonObject, parseJsonObject } from "./json.js";
import { MAX_SHARDS, MAX_TENSORS } from "./limits.js";
import { openPickle } from "./pickle/file.js";
import { openSafetensors } from "./safetensors/file.js";
import { requireTensor } from "./shapes.js";
import { readTextFile } from "./text-files.js";
import type { ByteSource, Checkpoint, FileSet, RowRange, TensorInfo } from "./types.js";
import type { WeightFile } from "./weight-file.js";

/** How a format's files are called and opened. */
export interface WeightFormat {
  readonly format: Exclude<Checkpoint["format"], "gguf">;
  readonly single: string;
  readonly index: string;
  /** Any file of the format, by its name. */
  readonly fileName: RegExp;
  readonly open: (source: ByteSource) => Promise<WeightFile>;
}

/** Best first: safetensors hold the same as a pickle and nothing else. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = [
  {
    format: "safetensors",
    single: "model.safetensors",
    index: "model.safetensors.index.json",
    fileName: /\.safetensors$/,
    open: openSafetensors,
  },
  {
    format: "pickle",
    single: "pytorch_model.bin",
    index: "pytorch_model.bin.index.json",
    fileName: /\.(pt|pth|bin)$/,
    open: openPickle,
  },
];

/** Shards whose headers are read together: over a network each takes a round trip or two. */
const OPENED_AT_ONCE = 8;

/** Files that together hold a checkpoint's tensors; each tensor is read from the file that holds it. */
export interface FolderWeights {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly fileBytes: number;
  readRaw(name: string, rows?: RowRange): Promise<Uint8Array>;
  readF32(name: string, rows?: RowRange): Promise<Float32Array>;
  /** Absent where some tensor does not lie in its file row by row. */
  readFile?(file: string, offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Opens the weights of a folder; `undefined` when it has neither the format's single file nor its index. */
export async function openFolderWeights(
  files: FileSet,
  { single, index, open }: WeightFormat,
): Promise<FolderWeights | undefined> {
  const source = await files.open(single);
  if (source !== undefined) return joinFiles([await open(source)], new Map(), files.name, index);
  const text = await readTextFile(files, index);
  if (text === undefined) return undefined;
  const weightMap = checkIndex(text, `${index} of ${files.name}`);
  const opened: WeightFile[] = [];
  try {
    const shards = [...new Set(weightMap.values())].sort();
    for (let at = 0; at < shards.length; at += OPENED_AT_ONCE) {
      const batch = shards.slice(at, at + OPENED_AT_ONCE).map(async (shard) => {
        const source = await files.open(shard);
        if (source !== undefined) return open(source);
        throw inputError(`${index} names the shard ${shard}, which ${files.name} does not hold; fetch it.`);
      });
      const settled = await Promise.allSettled(batch);
      for (const one of settled) if (one.status === "fulfilled") opened.push(one.value);
      for (const one of settled) if (one.status === "rejected") throw one.reason;
    }
    return joinFiles(opened, weightMap, files.name, index);
  } catch (error) {
    await Promise.all(opened.map((file) => file.close()));
    throw error;
  }
}

function checkIndex(text: string, what: string): Map<string, string> {
  const map = parseJsonObject(text, what)["weight_map"];
  if (!isJsonObject(map)) throw inputError(`${what} has no weight_map.`);
  const entries = Object.entries(map);
  if (entries.length > MAX_TENSORS)
    throw inputError(`${what} lists ${entries.length} tensors, where at most ${MAX_TENSORS} are accepted.`);
  const result = new Map<string, string>();
  for (const [name, file] of entries) {
    if (typeof file !== "string") throw inputError(`${what} names no file for tensor ${name.slice(0, 100)}.`);
    requirePlainFileName(file, what);
    result.set(name, file);
  }
  if (result.size === 0) throw inputError(`${what} lists no tensors.`);
  const shards = new Set(result.values()).size;
  if (shards > MAX_SHARDS)
    throw inputError(`${what} names ${shards} shards, where at most ${MAX_SHARDS} are accepted.`);
  return result;
}

/** One view of several files. A tensor that the index does not list is found where it lies, as transformers does. */
export function joinFiles(
  opened: readonly WeightFile[],
  weightMap: ReadonlyMap<string, string>,
  name: string,
  index: string,
): FolderWeights {
  const byName = new Map(opened.map((file) => [file.name, file]));
  for (const [tensor, shard] of weightMap) {
    const file = byName.get(shard)!;
    if (!file.tensors.has(tensor) && !file.unreadable.has(tensor)) {
      throw inputError(
        `${index} says that ${shard} holds tensor ${tensor.slice(0, 100)}, but it does not; fetch both again.`,
      );
    }
  }
  const tensors = new Map<string, TensorInfo>();
  const holder = new Map<string, WeightFile>();
  for (const file of opened) {
    for (const tensor of [...file.tensors.keys(), ...file.unreadable.keys()]) {
      if ((weightMap.get(tensor) ?? file.name) !== file.name) continue;
      if (holder.has(tensor))
        throw inputError(`Both ${holder.get(tensor)!.name} and ${file.name} hold tensor ${tensor}.`);
      holder.set(tensor, file);
      const info = file.tensors.get(tensor);
      if (info !== undefined) tensors.set(tensor, info);
    }
  }
  const find = (tensor: string): WeightFile => {
    const file = holder.get(tensor);
    if (file === undefined) requireTensor(tensors, tensor, name);
    return file!;
  };
  return {
    tensors,
    fileBytes: opened.reduce((sum, file) => sum + file.sizeBytes, 0),
    readRaw: async (tensor, rows) => find(tensor).readRaw(tensor, rows),
    readF32: async (tensor, rows) => find(tensor).readF32(tensor, rows),
    ...(opened.every((file) => file.contiguous !== false) && {
      readFile: async (fileName: string, offset: number, target: Uint8Array) => {
        const file = byName.get(fileName);
        if (file === undefined) throw inputError(`${name} holds no weight file ${fileName}.`);
        await file.readFile(offset, target);
      },
    }),
    close: async () => {
      await Promise.all(opened.map((file) => file.close()));
    },
  };
}
