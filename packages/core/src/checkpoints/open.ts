/** Opening a checkpoint, whatever its format. */
import { inputError } from "../errors.js";
import { openGgufCheckpoint } from "./gguf/checkpoint.js";
import { parseJsonObject } from "./json.js";
import { openSafetensors } from "./safetensors/file.js";
import {
  INDEX_FILE,
  SINGLE_FILE,
  joinFiles,
  openSafetensorsWeights,
  type SafetensorsWeights,
} from "./safetensors/shards.js";
import { readTextFile } from "./text-files.js";
import type { ByteSource, Checkpoint, FileSet } from "./types.js";

/**
 * Opens a Hugging Face style folder (`config.json` and safetensors weights, or a single GGUF file), or one GGUF or
 * safetensors file. A lone safetensors file is a checkpoint without config or side files.
 * Reads headers only. Throws `input` for everything malformed, missing or unsupported.
 */
export async function openCheckpoint(files: FileSet | ByteSource): Promise<Checkpoint> {
  if ("read" in files) return openFile(files);
  const weights = await openSafetensorsWeights(files);
  if (weights === undefined) return openLoneGguf(files);
  try {
    const text = await readTextFile(files, "config.json");
    if (text === undefined)
      throw inputError(
        `${files.name} holds weights but no config.json; fetch it from where the weights came.`,
      );
    const config = parseJsonObject(text, `config.json of ${files.name}`);
    return ofWeights(weights, files.name, config, (fileName) => readTextFile(files, fileName));
  } catch (error) {
    await weights.close();
    throw error;
  }
}

async function openFile(source: ByteSource): Promise<Checkpoint> {
  if (!source.name.endsWith(".safetensors")) return openGgufCheckpoint(source);
  const weights = joinFiles([await openSafetensors(source)], new Map(), source.name);
  return ofWeights(weights, source.name, {}, () => Promise.resolve(undefined));
}

function ofWeights(
  weights: SafetensorsWeights,
  name: string,
  config: Checkpoint["config"],
  readText: Checkpoint["readText"],
): Checkpoint {
  return { ...weights, format: "safetensors", name, config, notes: [], readText };
}

async function openLoneGguf(files: FileSet): Promise<Checkpoint> {
  const names = await files.list();
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  if (ggufs.length > 1) throw inputError(`${files.name} holds ${ggufs.length} GGUF files; name one of them.`);
  const source = ggufs[0] === undefined ? undefined : await files.open(ggufs[0]);
  if (source !== undefined) return openGgufCheckpoint(source);
  throw inputError(
    `${files.name} holds no weights: neither ${SINGLE_FILE}, nor ${INDEX_FILE}, nor a .gguf file.`,
  );
}
