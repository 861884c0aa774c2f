/** From a source to a running model in one call. */
import { SubbitError, openModel, openTokenizer, type Checkpoint } from "@subbit/core";
import { loadModel, type LoadOptions } from "./load-model.js";
import type { RuntimeModel } from "./session/runtime-model.js";
import { prepareKernels } from "./executors/open.js";
import { isNode } from "./wasm/probes.js";

/** A path (on Node) of a folder in Hugging Face layout, dense or packed, or of a .gguf file; or an open checkpoint. */
export type LoadSource = string | Checkpoint;

/** Opens, loads and closes the source again; a checkpoint that was given stays the caller's to close. */
export async function load(source: LoadSource, options: LoadOptions = {}): Promise<RuntimeModel> {
  if (typeof source !== "string") return loadCheckpoint(source, options);
  // The kernels are compiled in the background, whatever comes of the source.
  prepareKernels();
  const checkpoint = await openPath(source);
  try {
    return await loadCheckpoint(checkpoint, options);
  } finally {
    await checkpoint.close();
  }
}

async function loadCheckpoint(checkpoint: Checkpoint, options: LoadOptions): Promise<RuntimeModel> {
  const model = await openModel(checkpoint);
  return loadModel(model, () => openTokenizer(checkpoint), options);
}

async function openPath(path: string): Promise<Checkpoint> {
  if (!isNode() || /^[a-z][a-z0-9+.-]+:/i.test(path)) {
    throw new SubbitError(
      "usage",
      `The source ${path} was asked for, but only local folders and files can be opened by name; open it with openCheckpoint of @subbit/core and pass that.`,
    );
  }
  const { openCheckpointAt } = await import("@subbit/core/node");
  return openCheckpointAt(path);
}
