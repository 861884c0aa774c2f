/** Opening a checkpoint, whatever its format. */
import { inputError } from "../errors.js";
import { joinFiles, openFolderWeights, WEIGHT_FORMATS, type FolderWeights } from "./folder-weights.js";
import { openGgufCheckpoint } from "./gguf/checkpoint.js";
import { parseJsonObject } from "./json.js";
import { readTextFile } from "./text-files.js";
import type { ByteSource, Checkpoint, FileSet } from "./types.js";

/**
 * Opens a Hugging Face style folder (`config.json` and safetensors or torch weights, or a single GGUF file), or one GGUF,
 * safetensors or torch file. A lone safetensors or torch file is a checkpoint without config or side files.
 * Reads headers only. Throws `input` for everything malformed, missing or unsupported.
 */
export async function openCheckpoint(files: FileSet | ByteSource): Promise<Checkpoint> {
  if ("read" in files) return openFile(files);
  for (const kind of WEIGHT_FORMATS) {
    const weights = await openFolderWeights(files, kind);
    if (weights !== undefined) return withConfig(files, weights, kind.format);
  }
  return openOtherFile(files);
}

async function withConfig(
  files: FileSet,
  weights: FolderWeights,
  format: Checkpoint["format"],
): Promise<Checkpoint> {
  try {
    const text = await readTextFile(files, "config.json");
    if (text === undefined)
      throw inputError(
        `${files.name} holds weights but no config.json; fetch it from where the weights came, or from the model that they were made from.`,
      );
    const config = parseJsonObject(text, `config.json of ${files.name}`);
    return ofWeights(weights, format, files.name, config, (fileName) => readTextFile(files, fileName));
  } catch (error) {
    await weights.close();
    throw error;
  }
}

async function openFile(source: ByteSource): Promise<Checkpoint> {
  const kind = WEIGHT_FORMATS.find(({ fileName }) => fileName.test(source.name));
  if (kind === undefined) return openGgufCheckpoint(source);
  const weights = joinFiles([await kind.open(source)], new Map(), source.name, kind.index);
  return ofWeights(weights, kind.format, source.name, {}, () => Promise.resolve(undefined));
}

function ofWeights(
  weights: FolderWeights,
  format: Checkpoint["format"],
  name: string,
  config: Checkpoint["config"],
  readText: Checkpoint["readText"],
): Checkpoint {
  return { ...weights, format, name, config, notes: [], readText };
}

/** What training leaves beside the weights. */
const TRAINING_FILES = /^(training_args|optimizer|scheduler|scaler|rng_state.*)\.(bin|pt|pth)$/;
/** What packed checkpoints without a fixed name are mostly called. */
const USUAL_STEM = "checkpoint";

/** A folder whose weights have no usual name: its only file of some format. */
async function openOtherFile(files: FileSet): Promise<Checkpoint> {
  const names = await files.list();
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  if (ggufs.length > 1) throw inputError(`${files.name} holds ${ggufs.length} GGUF files; name one of them.`);
  const gguf = ggufs[0] === undefined ? undefined : await files.open(ggufs[0]);
  if (gguf !== undefined) return openGgufCheckpoint(gguf);
  const found = WEIGHT_FORMATS.flatMap((kind) =>
    names
      .filter((name) => kind.fileName.test(name) && !TRAINING_FILES.test(name))
      .map((name) => ({ name, kind, usual: name.replace(kind.fileName, "") === USUAL_STEM }))
      // Safetensors files of other names are as often something else: activations, adapters, a part of a model.
      .filter(({ usual }) => usual || kind.format !== "safetensors"),
  );
  const chosen = found.find(({ usual }) => usual) ?? found[0];
  if (chosen !== undefined) {
    if (!chosen.usual && found.length > 1) {
      throw inputError(
        `${files.name} holds ${found.length} weight files (${found[0].name}, ${found[1].name} ...) and none is called model or ${USUAL_STEM}; leave one of them.`,
      );
    }
    const source = await files.open(chosen.name);
    if (source !== undefined) {
      const weights = joinFiles([await chosen.kind.open(source)], new Map(), files.name, chosen.kind.index);
      return withConfig(files, weights, chosen.kind.format);
    }
  }
  throw inputError(
    `${files.name} holds no weights: neither ${WEIGHT_FORMATS.map(({ single, index }) => `${single}, nor ${index}`).join(", nor ")}, nor a .gguf file.`,
  );
}
