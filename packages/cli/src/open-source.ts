/** From a source on the command line to an open model and its tokenizer. */
import {
  openModel,
  openTokenizer,
  SubbitError,
  type Checkpoint,
  type FileSet,
  type Model,
  type Tokenizer,
} from "@subbit/core";
import { folderFiles, openCheckpointAt } from "@subbit/core/node";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Context } from "./context.js";
import { resolveSource } from "./sources.js";

/** Runs `body` with the model of `source` and closes it whatever happens. */
export async function withModel<R>(
  context: Context,
  source: string,
  body: (model: Model) => Promise<R>,
): Promise<R> {
  const checkpoint = await openCheckpointAt(resolveSource(source));
  try {
    for (const note of checkpoint.notes ?? []) context.warn(note);
    return await body(await openModel(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

/** Like `withModel` for the tokenizer alone; a folder with tokenizer files and no weights will do. */
export async function withTokenizer<R>(
  source: string,
  body: (tokenizer: Tokenizer) => Promise<R>,
): Promise<R> {
  const path = resolveSource(source);
  const bare = existsSync(join(path, "tokenizer.json")) && !existsSync(join(path, "config.json"));
  const checkpoint = bare ? tokenizerFolder(folderFiles(path)) : await openCheckpointAt(path);
  try {
    return await body(await openTokenizer(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

/** A checkpoint without tensors. */
function tokenizerFolder(files: FileSet): Checkpoint {
  const refuse = (): Promise<never> =>
    Promise.reject(new SubbitError("internal", `${files.name} holds tokenizer files only.`));
  return {
    format: "safetensors",
    name: files.name,
    tensors: new Map(),
    fileBytes: 0,
    config: {},
    readRaw: refuse,
    readF32: refuse,
    readText: async (fileName) => {
      const file = await files.open(fileName);
      if (file === undefined) return undefined;
      try {
        return new TextDecoder().decode(await file.read(0, file.sizeBytes));
      } finally {
        await file.close();
      }
    },
    close: () => Promise.resolve(),
  };
}
