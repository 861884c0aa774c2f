/** Folders in memory: what a plan would write, opened again. */
import { openCheckpoint } from "../src/checkpoints/open.js";
import { writePickle } from "../src/checkpoints/pickle/write.js";
import { encodeSafetensors, inFileOrder, type TensorToWrite } from "../src/checkpoints/safetensors/encode.js";
import { bytesSource } from "../src/checkpoints/sources.js";
import type { Checkpoint } from "../src/checkpoints/types.js";
import type { FolderPlan } from "../src/layouts/plan-folder.js";
import { openModel } from "../src/model/open-model.js";
import type { Model } from "../src/model/model.js";

export async function encodePickle(
  tensors: readonly TensorToWrite[],
  root = "checkpoint",
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const sink = new WritableStream<Uint8Array>({ write: (chunk) => void chunks.push(chunk.slice()) });
  await writePickle(sink, tensors, { root });
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** A folder of files by name. */
export function openFolder(files: ReadonlyMap<string, Uint8Array>, name = "the folder"): Promise<Checkpoint> {
  return openCheckpoint({
    name,
    list: () => Promise.resolve([...files.keys()]),
    open: (file) => Promise.resolve(files.has(file) ? bytesSource(files.get(file)!, file) : undefined),
  });
}

export async function planFiles({
  weightFile,
  config,
  texts,
  tensors,
}: FolderPlan): Promise<Map<string, Uint8Array>> {
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  const weights = weightFile.endsWith(".safetensors")
    ? await encodeSafetensors(inFileOrder(tensors))
    : await encodePickle(tensors);
  return new Map([
    [weightFile, weights],
    ["config.json", encode(JSON.stringify(config))],
    ...[...texts].map(([name, text]) => [name, encode(text)] as const),
  ]);
}

export async function openPlan(plan: FolderPlan): Promise<Model> {
  return openModel(await openFolder(await planFiles(plan)));
}
