/** `pullToFolder`: a remote model into a folder of the user's, whole or not at all. */
import { constants } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { SubbitError } from "@subbit/core";
import { checkTarget, hashFile, writeFolder } from "@subbit/core/node";
import { downloadAll, type Downloaded } from "../download/download-all.js";
import type { Hub } from "../hub.js";
import { chooseOf, listSource } from "../listing/list.js";
import type { RemoteFile } from "../listing/types.js";
import type { RemoteSource } from "../source-name.js";
import { fromCache, notCached } from "./from-cache.js";
import { blobPath, cachedModel } from "./layout.js";
import { withLock } from "./lock.js";
import type { PullOptions, Pulled, PulledFile } from "./types.js";

export interface PullFolderOptions extends PullOptions {
  /** Replace a model folder that is there. @default false */
  readonly overwrite?: boolean;
}

/** Says which revision the files in the work folder are of. */
const REVISION_FILE = "revision";

/**
 * As `pullToCache`, into `dir`, which appears when everything is there and is right. What came before a failure waits beside it
 * in a hidden folder for the next call. Files that the cache has are copied from there. Throws `usage` for an existing `dir`.
 */
export async function pullToFolder(
  hub: Hub,
  source: RemoteSource,
  dir: string,
  options: PullFolderOptions = {},
): Promise<Pulled> {
  const target = resolve(dir);
  const { overwrite = false } = options;
  await checkTarget(target, { overwrite });
  if (hub.settings.offline) return copyCached(hub, source, target, options);
  const listing = await listSource(hub, source);
  const files = await chooseOf(hub, listing, source, options);
  const work = join(dirname(target), `.${basename(target)}.download`);
  const waited = (holder: { readonly pid: number }): void =>
    options.onWarning?.(`Another process (${holder.pid}) is writing ${dir}; this one waits for it.`);
  await mkdir(dirname(target), { recursive: true });
  return withLock(`${work}.lock`, { signal: hub.client.signal, onWait: waited }, async () => {
    await checkTarget(target, { overwrite });
    await prepare(work, listing.revision);
    const place = ({ id }: RemoteFile): string => join(work, id);
    await takeFromCache(hub, source, files, place);
    const downloaded = await downloadAll(hub.client, files, place, {
      name: source.name,
      folder: work,
      onProgress: options.onProgress,
      blockBytes: options.blockBytes,
      ...(options.freeBytes && { freeBytes: options.freeBytes }),
    });
    const pulled = await hashesOf(hub, downloaded, place, options);
    await writeFolder(target, { overwrite }, async (folder) => {
      for (const file of files)
        await copyFile(place(file), join(folder, file.file), constants.COPYFILE_FICLONE);
    });
    await rm(work, { recursive: true, force: true });
    const bytes = downloaded.reduce(
      (sum, { file, sha256 }) => sum + (sha256 === undefined ? 0 : file.bytes),
      0,
    );
    return resultOf(source, target, listing.revision, pulled, bytes);
  });
}

/** An empty work folder, or that of an earlier try for the same revision. */
async function prepare(work: string, revision: string): Promise<void> {
  const before = await readFile(join(work, REVISION_FILE), "utf8").catch(() => undefined);
  if (before === revision) return;
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  await writeFile(join(work, REVISION_FILE), revision);
}

async function takeFromCache(
  hub: Hub,
  source: RemoteSource,
  files: readonly RemoteFile[],
  place: (file: RemoteFile) => string,
): Promise<void> {
  const { folder } = cachedModel(hub.settings, source);
  for (const file of files) {
    const blob = blobPath(folder, file.id);
    const found = await stat(blob).catch(() => undefined);
    if (found?.size !== file.bytes || (await stat(place(file)).catch(() => undefined)) !== undefined)
      continue;
    const beside = `${place(file)}.copy`;
    await copyFile(blob, beside, constants.COPYFILE_FICLONE);
    await rename(beside, place(file));
  }
}

async function hashesOf(
  hub: Hub,
  downloaded: readonly Downloaded[],
  place: (file: RemoteFile) => string,
  { onProgress }: PullOptions,
): Promise<PulledFile[]> {
  const { signal } = hub.client;
  const files: PulledFile[] = [];
  for (const { file, sha256: fresh } of downloaded) {
    const sha256 = fresh ?? (await hashFile(place(file), onProgress, signal ? { signal } : {}));
    // What was copied has not been hashed on its way.
    if (file.promised?.algorithm === "sha256" && file.promised.hex !== sha256) {
      await rm(place(file), { force: true });
      throw new SubbitError(
        "input",
        `The cached copy of ${file.name} is damaged; run pull --verify for it, then this again.`,
      );
    }
    files.push({ name: file.file, bytes: file.bytes, sha256 });
  }
  return files;
}

async function copyCached(
  hub: Hub,
  source: RemoteSource,
  target: string,
  options: PullFolderOptions,
): Promise<Pulled> {
  const found = await fromCache(hub, source, options.onProgress);
  if (found === undefined) throw notCached(source);
  const from = source.file === undefined ? found.path : dirname(found.path);
  await writeFolder(target, { overwrite: options.overwrite ?? false }, async (folder) => {
    for (const { name } of found.files)
      await copyFile(join(from, name), join(folder, name), constants.COPYFILE_FICLONE);
  });
  return resultOf(source, target, found.revision, found.files, 0);
}

function resultOf(
  source: RemoteSource,
  target: string,
  revision: string,
  files: readonly PulledFile[],
  downloadedBytes: number,
): Pulled {
  const path = source.file === undefined ? target : join(target, source.file);
  return { path, name: source.name, revision, files, downloadedBytes };
}
