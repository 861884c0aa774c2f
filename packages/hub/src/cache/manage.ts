/** What the cache holds, and removing it. */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { inputError } from "@subbit/core";
import type { Hub } from "../hub.js";
import { parseRemoteSource } from "../source-name.js";
import { bytesOnDisk, cachedModel, lockOf } from "./layout.js";
import { withLock } from "./lock.js";
import { RECORD_FOLDER, readRecord } from "./record.js";

export interface CacheEntry {
  /** As a source of commands. */
  readonly name: string;
  readonly path: string;
  /** On disk, unfinished downloads included. */
  readonly bytes: number;
  readonly revisions: readonly string[];
  /** Pulled by subbit, not only by another tool that shares the cache. */
  readonly own: boolean;
  /** A download was begun and not finished. */
  readonly partial: boolean;
}

interface Found {
  readonly entry: CacheEntry;
  readonly lock: string;
}

/** By name. */
export async function listCache(hub: Hub): Promise<CacheEntry[]> {
  return (await findAll(hub)).map(({ entry }) => entry);
}

export interface ClearOptions {
  /** Sources whose models are removed, whoever put them there. */
  readonly names?: readonly string[];
  /** Everything that subbit pulled; what other tools put into the shared cache stays. @default false */
  readonly all?: boolean;
}

/** Removes models with all their revisions; throws `input` for one that is not there, before anything is removed. */
export async function clearCache(hub: Hub, options: ClearOptions): Promise<CacheEntry[]> {
  const found = await findAll(hub);
  const byFolder = new Map(found.map((one) => [one.entry.path, one]));
  const chosen = new Set<Found>();
  for (const name of options.names ?? []) {
    const { folder } = cachedModel(hub.settings, parseRemoteSource(name, hub.settings));
    const one = byFolder.get(folder);
    if (one === undefined) throw inputError(`${name} is not in the cache; subbit cache list shows what is.`);
    chosen.add(one);
  }
  if (options.all === true) for (const one of found) if (one.entry.own) chosen.add(one);
  for (const { entry, lock } of chosen) {
    await withLock(lock, { signal: hub.client.signal }, () =>
      rm(entry.path, { recursive: true, force: true }),
    );
  }
  return [...chosen].map(({ entry }) => entry);
}

async function findAll({ settings }: Hub): Promise<Found[]> {
  const found: Found[] = [];
  for (const key of await foldersOf(settings.hubCache)) {
    const match = /^models--([\w.-]+?)--([\w.-]+)$/.exec(key);
    if (match === null) continue;
    const entry = await describe(settings.hubCache, key, `hf:${match[1]}/${match[2]}`);
    found.push({ entry, lock: lockOf(settings.hubCache, key) });
  }
  for (const key of await foldersOf(settings.urlCache)) {
    const entry = await describe(settings.urlCache, key, key);
    const [revision] = entry.revisions;
    const record = revision === undefined ? undefined : await readRecord(entry.path, revision);
    const named = { ...entry, name: record?.name ?? key, own: true };
    found.push({ entry: named, lock: lockOf(settings.urlCache, key) });
  }
  return found.sort((a, b) => (a.entry.name < b.entry.name ? -1 : 1));
}

async function describe(cache: string, key: string, name: string): Promise<CacheEntry> {
  const path = join(cache, key);
  const blobs = await readdir(join(path, "blobs")).catch(() => []);
  const partial = blobs.some((blob) => blob.endsWith(".part"));
  return {
    name,
    path,
    bytes: await bytesOnDisk(path),
    revisions: (await readdir(join(path, "snapshots")).catch(() => [])).sort(),
    own: partial || (await stat(join(path, RECORD_FOLDER)).catch(() => undefined)) !== undefined,
    partial,
  };
}

async function foldersOf(cache: string): Promise<string[]> {
  const entries = await readdir(cache, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map(({ name }) => name);
}
