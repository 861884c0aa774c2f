/** What of a teacher's files goes along with the packed model: its tokenizer files, and the hash of its weights. */
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex, SubbitError, throwIfAborted, type Model } from "@subbit/core";
import { hashFile } from "@subbit/core/node";
import type { CompressOptions } from "@subbit/compress";
import type { Context } from "./context.js";
import type { ModelOrigin } from "./open-source.js";

/** Kept as they are; those of a GGUF file are rebuilt from its metadata. */
const SIDE_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
];

/** @param opened what the model was opened from */
export async function teacherFiles(
  context: Context,
  opened: ModelOrigin,
  model: Model,
): Promise<Required<Pick<CompressOptions, "sideTexts" | "teacherSha256">>> {
  return { sideTexts: await sideTexts(model), teacherSha256: await weightsHash(context, opened, model) };
}

/** Tokenizer and generation files of a model by name. */
export async function sideTexts(model: Model): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const name of SIDE_FILES) {
    const text = await model.checkpoint.readText(name);
    if (text !== undefined) texts.set(name, text);
  }
  return texts;
}

/** sha256 of the weight file; of several, that of their `<sha256>  <name>` lines in name order, as sha256sum prints them. */
export async function weightsHash(context: Context, opened: ModelOrigin, model: Model): Promise<string> {
  const names = [...new Set([...model.checkpoint.tensors.values()].map((info) => info.file))].sort();
  const hashes: string[] = [];
  for (const name of names) hashes.push(await fileHash(context, opened, model, name));
  if (hashes.length === 1) return hashes[0];
  return sha256Hex(new TextEncoder().encode(names.map((name, i) => `${hashes[i]}  ${name}\n`).join("")));
}

async function fileHash(
  context: Context,
  { path, promisedSha256 }: ModelOrigin,
  model: Model,
  name: string,
): Promise<string> {
  if (path === undefined) return promisedSha256?.(name) ?? streamedHash(context, model, name);
  const file = statSync(path).isDirectory() ? join(path, name) : path;
  return hashFile(file, context.onProgress, { signal: context.signal });
}

/** Read at once. */
const CHUNK_BYTES = 8 << 20;

/** A server that promises no hash is read once for it. */
async function streamedHash(
  { signal, onProgress }: Context,
  { checkpoint }: Model,
  name: string,
): Promise<string> {
  const total = fileEnd(checkpoint, name);
  if (checkpoint.readFile === undefined || total === undefined) {
    throw new SubbitError(
      "usage",
      `${name} comes without a hash and cannot be hashed by parts; leave --stream out.`,
    );
  }
  const hash = createHash("sha256");
  for (let done = 0; done < total;) {
    throwIfAborted(signal);
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, total - done));
    await checkpoint.readFile(name, done, bytes);
    hash.update(bytes);
    done += bytes.length;
    onProgress({ stage: `hash ${name}`, done, total, unit: "bytes" });
  }
  return hash.digest("hex");
}

/** A safetensors file ends where its last tensor ends; `undefined` for one that is not read. */
function fileEnd(checkpoint: Model["checkpoint"], name: string): number | undefined {
  const ends = [...checkpoint.tensors.values()]
    .filter(({ file }) => file === name)
    .map(({ offset, bytes }) => offset + bytes);
  return ends.length === 0 ? undefined : Math.max(...ends);
}
