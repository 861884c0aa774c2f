/** Listing a folder of a server that has no listings: the names that a model's files have are tried. */
import { createHash } from "node:crypto";
import { inputError } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { forEachLimited } from "../http/semaphore.js";
import type { UrlSource } from "../source-name.js";
import { INDEX_FILE, shardNames } from "./index-shards.js";
import { probeFile } from "./probe.js";
import type { Listing, RemoteFile } from "./types.js";
import { readWhole } from "./read-whole.js";

const SIDE_FILES = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "vocab.json",
  "merges.txt",
  "subbit.json",
  "calibration.txt",
] as const;
const SINGLE_FILE = "model.safetensors";
const PROBED_AT_ONCE = 6;

/** Throws `input` where the folder holds no model. */
export async function listUrl(client: HttpClient, source: UrlSource): Promise<Listing> {
  const found = new Map<string, RemoteFile>();
  const probe = async (name: string): Promise<void> => {
    const file = await probeFile(client, source.folder, name);
    if (file !== undefined) found.set(name, file);
  };
  if (source.file !== undefined) await probe(source.file);
  else await forEachLimited([...SIDE_FILES, SINGLE_FILE, INDEX_FILE], PROBED_AT_ONCE, probe);
  const index = found.get(INDEX_FILE);
  if (index !== undefined && !found.has(SINGLE_FILE)) {
    const shards = shardNames(await readWhole(client, index), index.name);
    await forEachLimited(shards, PROBED_AT_ONCE, probe);
    const missing = shards.find((shard) => !found.has(shard));
    if (missing !== undefined) throw inputError(`${index.name} names ${missing}, which is not there.`);
  }
  if (source.file !== undefined ? !found.has(source.file) : !found.has("config.json")) {
    const wanted = source.file ?? "config.json";
    throw inputError(
      `${source.name} holds no ${wanted}; give the address of a model's folder or of a .gguf file.`,
    );
  }
  const files = [...found.values()].sort((a, b) => (a.file < b.file ? -1 : 1));
  const fingerprint = createHash("sha256").update(files.map(({ file, id }) => `${id}  ${file}\n`).join(""));
  return { name: source.name, revision: fingerprint.digest("hex").slice(0, 40), files };
}
