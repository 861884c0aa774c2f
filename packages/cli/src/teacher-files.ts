/** What of a teacher's files goes along with the packed model: its tokenizer files, and the hash of its weights. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex, type Model } from "@subbit/core";
import { hashFile } from "@subbit/core/node";
import type { CompressOptions } from "@subbit/compress";
import type { Context } from "./context.js";

/** Kept as they are; those of a GGUF file are rebuilt from its metadata. */
const SIDE_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
];

/** @param path folder or file that the model was opened from */
export async function teacherFiles(
  context: Context,
  path: string,
  model: Model,
): Promise<Required<Pick<CompressOptions, "sideTexts" | "teacherSha256">>> {
  return { sideTexts: await sideTextsOf(model), teacherSha256: await weightsHash(context, path, model) };
}

/** The files beside the weights that a packed model keeps. */
export async function sideTextsOf(model: Model): Promise<Map<string, string>> {
  const sideTexts = new Map<string, string>();
  for (const name of SIDE_FILES) {
    const text = await model.checkpoint.readText(name);
    if (text !== undefined) sideTexts.set(name, text);
  }
  return sideTexts;
}

/** sha256 of the weight file; of several, that of their `<sha256>  <name>` lines in name order, as sha256sum prints them. */
export async function weightsHash(
  { signal, onProgress }: Context,
  path: string,
  model: Model,
): Promise<string> {
  if (!statSync(path).isDirectory()) return hashFile(path, onProgress, { signal });
  const names = [...new Set([...model.checkpoint.tensors.values()].map((info) => info.file))].sort();
  const hashes: string[] = [];
  for (const name of names) hashes.push(await hashFile(join(path, name), onProgress, { signal }));
  if (hashes.length === 1) return hashes[0];
  return sha256Hex(new TextEncoder().encode(names.map((name, i) => `${hashes[i]}  ${name}\n`).join("")));
}
