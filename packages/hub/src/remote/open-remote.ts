/** Opening a remote model as a checkpoint without downloading it: tensors are read by range when they are asked for. */
import { inputError, openCheckpoint, type ByteSource, type Checkpoint, type FileSet } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { fromCache, wholeCommit } from "../cache/from-cache.js";
import { cachedModel } from "../cache/layout.js";
import { isWhole, readRecord } from "../cache/record.js";
import { pullToCache } from "../cache/pull.js";
import type { PullOptions } from "../cache/types.js";
import { NoRangesError } from "../http/range.js";
import type { Hub } from "../hub.js";
import { chooseOf, listSource } from "../listing/list.js";
import type { Listing, RemoteFile } from "../listing/types.js";
import { probeFile } from "../listing/probe.js";
import { modelName, type RemoteSource } from "../source-name.js";
import { PIECE_BYTES, httpSource } from "./http-source.js";
import { PieceCache } from "./piece-cache.js";

export interface OpenRemoteOptions extends Pick<PullOptions, "onProgress" | "onWarning"> {
  /** Bytes read ahead of who reads in order; 0 for none. @default 32 MB */
  readonly readAheadBytes?: number;
}

const DEFAULT_READ_AHEAD_BYTES = 32 * 2 ** 20;
/** Beside the read-ahead: heads of all shards, and what lies between large reads. */
const KEPT_BYTES = 16 * 2 ** 20;

export interface RemoteCheckpoint {
  readonly checkpoint: Checkpoint;
  /**
   * sha256 of a weight file as the server promises it; `undefined` where it promises none. What is read by range is not hashed
   * on the way, it is only as safe as the connection.
   */
  promisedSha256(file: string): string | undefined;
}

/**
 * Throws what listing and opening throw. A model that the cache has is read from there; one of a server that knows no ranges is
 * pulled into it.
 */
export async function openRemote(
  hub: Hub,
  source: RemoteSource,
  options: OpenRemoteOptions = {},
): Promise<RemoteCheckpoint> {
  const offline = hub.settings.offline || (await wholeCommit(hub, source));
  const cached = offline ? await fromCache(hub, source) : undefined;
  if (cached !== undefined)
    return local(
      source,
      cached.path,
      cached.files.map(({ name, sha256 }) => [name, sha256] as const),
    );
  const listing = await listSource(hub, source);
  const record = await readRecord(cachedModel(hub.settings, source).folder, listing.revision);
  if (record !== undefined) {
    const wanted = await chooseOf(hub, listing, source);
    if (await isWhole(cachedModel(hub.settings, source).folder, record, wanted)) {
      const found = await fromCache(hub, {
        ...source,
        ...(source.kind === "hub" && { revision: listing.revision }),
      });
      if (found !== undefined)
        return local(
          source,
          found.path,
          record.files.map(({ file, sha256 }) => [file, sha256] as const),
        );
    }
  }
  let checkpoint: Checkpoint;
  try {
    const files = remoteFiles(hub, source, listing, options);
    checkpoint = await openCheckpoint(
      source.file === undefined ? files : await requireFile(files, source.file),
    );
  } catch (error) {
    if (!(error instanceof NoRangesError)) throw error;
    options.onWarning?.(`The server of ${source.name} gives no parts of files; the model is downloaded.`);
    const pulled = await pullToCache(hub, source, options);
    return local(
      source,
      pulled.path,
      pulled.files.map(({ name, sha256 }) => [name, sha256] as const),
    );
  }
  const promised = new Map(listing.files.map(({ file, promised: hash }) => [file, hash]));
  return {
    checkpoint: named(checkpoint, source),
    promisedSha256: (file) => {
      const hash = promised.get(file);
      return hash?.algorithm === "sha256" ? hash.hex : undefined;
    },
  };
}

async function local(
  source: RemoteSource,
  path: string,
  hashes: readonly (readonly [string, string])[],
): Promise<RemoteCheckpoint> {
  const known = new Map(hashes);
  return {
    checkpoint: named(await openCheckpointAt(path), source),
    promisedSha256: (file) => known.get(file),
  };
}

/** Called by its own name, not by that of a folder in the cache. */
export function named(checkpoint: Checkpoint, source: RemoteSource): Checkpoint {
  return { ...checkpoint, name: modelName(source) };
}

async function requireFile(files: FileSet, name: string): Promise<ByteSource> {
  const source = await files.open(name);
  if (source !== undefined) return source;
  throw inputError(`${files.name} was asked for, but there is no file ${name}; check the name.`);
}

function remoteFiles(hub: Hub, source: RemoteSource, listing: Listing, options: OpenRemoteOptions): FileSet {
  const { readAheadBytes = DEFAULT_READ_AHEAD_BYTES } = options;
  const cache = new PieceCache(Math.ceil((readAheadBytes + KEPT_BYTES) / PIECE_BYTES));
  const known = new Map<string, RemoteFile | undefined>(listing.files.map((file) => [file.file, file]));
  return {
    name: source.name,
    list: () => Promise.resolve(listing.files.map(({ file }) => file)),
    open: async (fileName) => {
      // A server without listings may have more than was tried.
      if (source.kind === "url" && !known.has(fileName))
        known.set(fileName, await probeFile(hub.client, source.folder, fileName));
      const file = known.get(fileName);
      return file && httpSource(hub.client, file, cache, { readAheadBytes });
    },
  };
}
