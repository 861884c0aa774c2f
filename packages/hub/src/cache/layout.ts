/**
 * Where a model lies in the cache. The layout is that of Hugging Face's tools, so that a model that one of them has is not
 * downloaded again: `models--org--name/blobs/<hash>` holds the bytes, `snapshots/<commit>/<file>` links to them, and
 * `refs/<branch>` names a commit. Folders of other servers lie the same way under a place of their own.
 */
import { createHash } from "node:crypto";
import {
  copyFile,
  link,
  lstat,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { HubSettings } from "../settings.js";
import type { RemoteSource } from "../source-name.js";

export interface CachedModel {
  readonly folder: string;
  /** What users call it: `hf:org/name`, or an address. */
  readonly name: string;
  /** Beside the models, so that a model can be removed while it is held. */
  readonly lock: string;
}

export function cachedModel(settings: HubSettings, source: RemoteSource): CachedModel {
  if (source.kind === "hub") {
    const key = `models--${source.repo.replace("/", "--")}`;
    return {
      folder: join(settings.hubCache, key),
      name: `hf:${source.repo}`,
      lock: lockOf(settings.hubCache, key),
    };
  }
  const address = source.folder.href;
  const hash = createHash("sha256").update(address).digest("hex").slice(0, 16);
  const slug = `${source.folder.host}${source.folder.pathname}`
    .replace(/[^\w.-]+/g, "-")
    .replace(/^[.-]+|-+$/g, "")
    .slice(0, 80);
  const key = `${slug}--${hash}`;
  return { folder: join(settings.urlCache, key), name: address, lock: lockOf(settings.urlCache, key) };
}

export function lockOf(cache: string, key: string): string {
  return join(cache, ".locks", `${key}.subbit.lock`);
}

export function blobPath(folder: string, id: string): string {
  return join(folder, "blobs", id);
}

export function snapshotPath(folder: string, revision: string): string {
  return join(folder, "snapshots", revision);
}

/** Makes `snapshots/<revision>/<file>` stand for the blob, in one step. */
export async function linkSnapshot(
  folder: string,
  revision: string,
  file: string,
  id: string,
): Promise<void> {
  const path = join(snapshotPath(folder, revision), file);
  const blob = blobPath(folder, id);
  await mkdir(dirname(path), { recursive: true });
  const beside = join(dirname(path), `.${file}.${process.pid}.new`);
  await rm(beside, { force: true });
  try {
    await symlink(relative(dirname(path), blob), beside);
  } catch {
    // Windows lets only some users make symbolic links.
    await link(blob, beside).catch(() => copyFile(blob, beside));
  }
  await rename(beside, path);
}

/** The commit that a branch or tag had when it was last asked for. */
export async function readRef(folder: string, ref: string): Promise<string | undefined> {
  const text = await readFile(join(folder, "refs", ref), "utf8").catch(() => undefined);
  return text !== undefined && /^[0-9a-f]{40}$/.test(text.trim()) ? text.trim() : undefined;
}

export async function writeRef(folder: string, ref: string, commit: string): Promise<void> {
  const path = join(folder, "refs", ref);
  await mkdir(dirname(path), { recursive: true });
  const beside = `${path}.${process.pid}.new`;
  await writeFile(beside, commit);
  await rename(beside, path);
}

export interface SnapshotFile {
  readonly file: string;
  readonly bytes: number;
}

/** The files of a snapshot whose bytes are there; `undefined` for no snapshot. */
export async function snapshotFiles(folder: string, revision: string): Promise<SnapshotFile[] | undefined> {
  const dir = snapshotPath(folder, revision);
  const names = await readdir(dir).catch(() => undefined);
  if (names === undefined) return undefined;
  const files: SnapshotFile[] = [];
  for (const file of names.sort()) {
    const found = await stat(join(dir, file)).catch(() => undefined);
    if (found?.isFile() === true && !file.startsWith(".")) files.push({ file, bytes: found.size });
  }
  return files.length > 0 ? files : undefined;
}

/** Bytes on disk of everything in a folder, links not followed. */
export async function bytesOnDisk(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
    const found = await lstat(join(folder, name)).catch(() => undefined);
    if (found?.isFile() === true) sum += Math.min(found.size, (found.blocks || Infinity) * 512);
  }
  return sum;
}
