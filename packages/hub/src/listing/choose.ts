/** Of all files of a repository those that a model needs, and no second copy of the weights in another format. */
import { inputError } from "@subbit/core";
import picomatch from "picomatch";

import { INDEX_FILE, shardNames } from "./index-shards.js";
import type { Listing, RemoteFile } from "./types.js";

export interface ChooseOptions {
  /** Globs over file names; given, they say alone what is taken. */
  readonly include?: readonly string[];
  /** Globs of what is left out. */
  readonly exclude?: readonly string[];
  /** One GGUF file. */
  readonly file?: string;
}

/** Configuration and tokenizer, whoever reads them. */
const SIDE_FILE = /\.(json|jinja|model|vocab)$|^(vocab|merges|calibration)\.txt$/;
/** Configurations of other runtimes, and indices of weights that are not taken. */
const NOT_NEEDED = /^(tf_|flax_|onnx|pytorch_model\.bin\.index|consolidated)|^params\.json$/;
const OTHER_WEIGHTS = /\.(bin|pt|pth)$/;

/** Throws `input` where nothing fits, or several GGUF files do and none was named. */
export async function chooseFiles(
  listing: Listing,
  options: ChooseOptions,
  readText: (file: RemoteFile) => Promise<string>,
): Promise<RemoteFile[]> {
  const excluded = options.exclude?.length ? picomatch([...options.exclude]) : () => false;
  const files = listing.files.filter(({ file }) => !excluded(file));
  if (options.file !== undefined) return [find(listing, options.file)];
  if (options.include?.length) {
    const included = picomatch([...options.include]);
    const chosen = files.filter(({ file }) => included(file));
    if (chosen.length > 0) return chosen;
    throw inputError(
      `${listing.name} holds no file that --include and --exclude leave; it holds ${names(listing.files)}.`,
    );
  }
  const weights = await weightFiles(listing, files, readText);
  const gguf = weights.every(({ file }) => /\.gguf$/i.test(file));
  const side = files.filter(
    ({ file }) => SIDE_FILE.test(file) && !NOT_NEEDED.test(file) && !weights.some((w) => w.file === file),
  );
  // A GGUF file carries its configuration and tokenizer.
  return gguf ? weights : [...side, ...weights];
}

async function weightFiles(
  listing: Listing,
  files: readonly RemoteFile[],
  readText: (file: RemoteFile) => Promise<string>,
): Promise<RemoteFile[]> {
  const single = files.find(({ file }) => file === "model.safetensors");
  if (single !== undefined) return [single];
  const index = files.find(({ file }) => file === INDEX_FILE);
  if (index !== undefined) {
    const shards = shardNames(await readText(index), index.name);
    const wanted = new Set(files.map(({ file }) => file));
    return shards
      .filter((shard) => wanted.has(shard) || !listing.files.some(({ file }) => file === shard))
      .map((shard) => find(listing, shard));
  }
  const safetensors = files.filter(({ file }) => file.endsWith(".safetensors"));
  if (safetensors.length > 0) return safetensors;
  const ggufs = files.filter(({ file }) => /\.gguf$/i.test(file));
  if (ggufs.length > 1) {
    const example = `${listing.name.replace(/@.*$/, "")}/${ggufs[0].file}`;
    throw inputError(
      `${listing.name} holds ${ggufs.length} GGUF files (${names(ggufs)}); name one, such as ${example}.`,
    );
  }
  if (ggufs.length === 1) return ggufs;
  const others = files.filter(
    ({ file }) => OTHER_WEIGHTS.test(file) && !/^(training_args|optimizer|scheduler)/.test(file),
  );
  if (others.length > 0) return others;
  throw inputError(
    `${listing.name} holds no weights (safetensors, GGUF or PyTorch files); it holds ${names(listing.files)}.`,
  );
}

function find(listing: Listing, name: string): RemoteFile {
  const found = listing.files.find(({ file }) => file === name);
  if (found !== undefined) return found;
  throw inputError(`${listing.name} holds no ${name}; it holds ${names(listing.files)}.`);
}

const SHOWN = 8;

function names(files: readonly RemoteFile[]): string {
  if (files.length === 0) return "nothing";
  const shown = files
    .slice(0, SHOWN)
    .map(({ file }) => file)
    .join(", ");
  return files.length > SHOWN ? `${shown} and ${files.length - SHOWN} more` : shown;
}
