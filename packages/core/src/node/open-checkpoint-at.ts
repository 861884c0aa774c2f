/** Opening a checkpoint by its path. */
import { openCheckpoint } from "../checkpoints/open.js";
import type { Checkpoint } from "../checkpoints/types.js";
import { inputError } from "../errors.js";
import { fileSource, folderFiles, statPath } from "./file-source.js";

/** Opens a folder in Hugging Face layout, a `.gguf` file or a `.safetensors` file. Throws `input` when there is none. */
export async function openCheckpointAt(path: string): Promise<Checkpoint> {
  const found = await statPath(path);
  if (found === undefined) throw inputError(`There is no folder or file at ${path}.`);
  return openCheckpoint(found.isDirectory() ? folderFiles(path) : await fileSource(path));
}
