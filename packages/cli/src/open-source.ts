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
import { isRemoteSource, named, openRemote } from "@subbit/hub";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Context } from "./context.js";
import { pullSource, remoteAccess } from "./remote-source.js";
import { resolveSource } from "./sources.js";

export interface OpenedSource {
  readonly checkpoint: Checkpoint;
  /** Folder or file on this machine; absent for what is read over the network. */
  readonly path?: string;
  /** sha256 of a weight file as the server promises it, where it does. */
  readonly promisedSha256?: (file: string) => string | undefined;
}

/** Where a model came from. */
export type ModelOrigin = Omit<OpenedSource, "checkpoint">;

export interface OpenSourceOptions {
  /** Read a remote source by ranges, for who needs little of it. @default false: it is downloaded into the cache */
  readonly stream?: boolean;
}

/** Path of a source on this machine; a remote one is downloaded into the cache. */
export async function localSource(context: Context, source: string): Promise<string> {
  return isRemoteSource(source) ? (await pullSource(context, source)).path : resolveSource(source);
}

async function openSource(
  context: Context,
  source: string,
  { stream = false }: OpenSourceOptions,
): Promise<OpenedSource> {
  if (!isRemoteSource(source)) {
    const path = resolveSource(source);
    return { path, checkpoint: await openCheckpointAt(path) };
  }
  const { hub, remote } = remoteAccess(context, source);
  if (stream) {
    const { onProgress } = context;
    return openRemote(hub, remote, { onProgress, onWarning: (sentence) => context.warn(sentence) });
  }
  const { path } = await pullSource(context, source);
  return { path, checkpoint: named(await openCheckpointAt(path), remote) };
}

/** Runs `body` with the model of `source` and closes it whatever happens. */
export async function withModel<R>(
  context: Context,
  source: string,
  body: (model: Model, opened: OpenedSource) => Promise<R>,
  options: OpenSourceOptions = {},
): Promise<R> {
  const opened = await openSource(context, source, options);
  const { checkpoint } = opened;
  try {
    for (const note of checkpoint.notes ?? []) context.warn(note);
    return await body(await openModel(checkpoint), opened);
  } finally {
    await checkpoint.close();
  }
}

/** Like `withModel` for the tokenizer alone; a folder with tokenizer files and no weights will do. */
export async function withTokenizer<R>(
  context: Context,
  source: string,
  body: (tokenizer: Tokenizer) => Promise<R>,
): Promise<R> {
  const { checkpoint } = bareTokenizer(source) ?? (await openSource(context, source, { stream: true }));
  try {
    return await body(await openTokenizer(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

function bareTokenizer(source: string): OpenedSource | undefined {
  if (isRemoteSource(source)) return undefined;
  const path = resolveSource(source);
  const bare = existsSync(join(path, "tokenizer.json")) && !existsSync(join(path, "config.json"));
  return bare ? { path, checkpoint: tokenizerFolder(folderFiles(path)) } : undefined;
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
