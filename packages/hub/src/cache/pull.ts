/** `pullToCache`: a remote model becomes a local folder that all processes of the machine share. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { SubbitError } from "@subbit/core";
import { hashFile } from "@subbit/core/node";
import { downloadAll } from "../download/download-all.js";
import type { Hub } from "../hub.js";
import { chooseOf, listSource } from "../listing/list.js";
import type { Listing, RemoteFile } from "../listing/types.js";
import type { RemoteSource } from "../source-name.js";
import { URL_REF, fromCache, notCached, wholeCommit } from "./from-cache.js";
import { blobPath, cachedModel, linkSnapshot, snapshotPath, writeRef } from "./layout.js";
import { withLock } from "./lock.js";
import { isWhole, readRecord, writeRecord, type PullRecord, type RecordedFile } from "./record.js";
import type { PullOptions, Pulled } from "./types.js";

/**
 * Downloads what is missing and returns where it lies. Without a network a model that is there already is used, with a warning.
 * Throws `input` for what does not exist, may not be read or comes damaged, `resources` when the disk is too small (before
 * anything is fetched), `network` when it does not come; what came is kept and the next call goes on from it.
 */
export async function pullToCache(
  hub: Hub,
  source: RemoteSource,
  options: PullOptions = {},
): Promise<Pulled> {
  const { onProgress, onWarning } = options;
  const cached = (): Promise<Pulled | undefined> => fromCache(hub, source, onProgress);
  const plain = options.include === undefined && options.exclude === undefined && options.verify !== true;
  if (hub.settings.offline || (plain && (await wholeCommit(hub, source)))) {
    const found = await cached();
    if (found !== undefined) return found;
    if (hub.settings.offline) throw notCached(source);
  }
  let listing: Listing;
  try {
    listing = await listSource(hub, source);
  } catch (error) {
    const found =
      error instanceof SubbitError && error.code === "network" && plain ? await cached() : undefined;
    if (found === undefined) throw error;
    onWarning?.(
      `${(error as SubbitError).message.replace(/\.$/, "")}; the cached copy of ${source.name} is used.`,
    );
    return found;
  }
  return bring(hub, source, listing, await chooseOf(hub, listing, source, options), options);
}

async function bring(
  hub: Hub,
  source: RemoteSource,
  listing: Listing,
  files: readonly RemoteFile[],
  options: PullOptions,
): Promise<Pulled> {
  const model = cachedModel(hub.settings, source);
  const { folder } = model;
  const { revision } = listing;
  const { signal } = hub.client;
  const result = (record: PullRecord, downloadedBytes: number): Pulled => {
    const wanted = files.map(({ file }) => record.files.find((one) => one.file === file)!);
    const snapshot = snapshotPath(folder, revision);
    return {
      path: source.file === undefined ? snapshot : join(snapshot, source.file),
      name: source.name,
      revision,
      files: wanted.map(({ file, bytes, sha256 }) => ({ name: file, bytes, sha256 })),
      downloadedBytes,
    };
  };
  const ref = source.kind === "hub" ? source.revision : URL_REF;
  const remember = (): Promise<void> =>
    ref === revision ? Promise.resolve() : writeRef(folder, ref, revision);
  const before = await readRecord(folder, revision);
  if (options.verify !== true && before !== undefined && (await isWhole(folder, before, files))) {
    await remember();
    return result(before, 0);
  }
  const waited = (holder: { readonly pid: number }): void =>
    options.onWarning?.(
      `Another process (${holder.pid}) is downloading ${source.name}; this one waits for it.`,
    );
  return withLock(model.lock, { signal, onWait: waited }, async () => {
    if (options.verify === true) await dropDamaged(hub, folder, files, options);
    const downloaded = await downloadAll(hub.client, files, ({ id }) => blobPath(folder, id), {
      name: source.name,
      folder: join(folder, "blobs"),
      onProgress: options.onProgress,
      blockBytes: options.blockBytes,
      ...(options.freeBytes && { freeBytes: options.freeBytes }),
    });
    const known = await readRecord(folder, revision);
    const recorded: RecordedFile[] = [];
    for (const { file, sha256: fresh } of downloaded) {
      const promised = file.promised?.algorithm === "sha256" ? file.promised.hex : undefined;
      const sha256 =
        fresh ??
        promised ??
        known?.files.find(({ id }) => id === file.id)?.sha256 ??
        (await hashFile(blobPath(folder, file.id), options.onProgress, signal ? { signal } : {}));
      recorded.push({ file: file.file, bytes: file.bytes, id: file.id, sha256 });
      await linkSnapshot(folder, revision, file.file, file.id);
    }
    const others = known?.files.filter(({ file }) => !recorded.some((one) => one.file === file)) ?? [];
    const all = options.include === undefined && options.exclude === undefined && source.file === undefined;
    const complete = all || known?.complete === true;
    const record = { name: model.name, revision, files: [...others, ...recorded], complete };
    await writeRecord(folder, record);
    await remember();
    const bytes = downloaded.reduce(
      (sum, { file, sha256 }) => sum + (sha256 === undefined ? 0 : file.bytes),
      0,
    );
    return result(record, bytes);
  });
}

/** Removes blobs whose bytes are not what their hash says. */
async function dropDamaged(
  hub: Hub,
  folder: string,
  files: readonly RemoteFile[],
  { onProgress }: PullOptions,
): Promise<void> {
  const { signal } = hub.client;
  for (const { id, promised } of files) {
    const path = blobPath(folder, id);
    const sha256 = await hashFile(path, onProgress, signal ? { signal } : {}).catch(() => undefined);
    if (sha256 !== undefined && (promised?.algorithm !== "sha256" || sha256 !== promised.hex))
      await rm(path, { force: true });
  }
}
