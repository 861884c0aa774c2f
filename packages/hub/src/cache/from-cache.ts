/** A model as it lies in the cache, without asking anybody. */
import { join } from "node:path";
import { inputError, type OnProgress } from "@subbit/core";
import { hashFile } from "@subbit/core/node";
import type { Hub } from "../hub.js";
import type { RemoteSource } from "../source-name.js";
import { cachedModel, readRef, snapshotFiles, snapshotPath } from "./layout.js";
import { isWhole, readRecord } from "./record.js";
import type { Pulled } from "./types.js";

const COMMIT = /^[0-9a-f]{40}$/;
/** The one that folders of other servers have. */
export const URL_REF = "main";

/** The revision that the cache holds for a source, and its folder. */
export async function cachedRevision({ settings }: Hub, source: RemoteSource): Promise<string | undefined> {
  const { folder } = cachedModel(settings, source);
  const revision = source.kind === "hub" ? source.revision : URL_REF;
  return COMMIT.test(revision) ? revision : readRef(folder, revision);
}

/** `undefined` when nothing of it is there. Hashes what has never been hashed. */
export async function fromCache(
  hub: Hub,
  source: RemoteSource,
  onProgress?: OnProgress,
): Promise<Pulled | undefined> {
  const { folder } = cachedModel(hub.settings, source);
  const revision = await cachedRevision(hub, source);
  const found = revision === undefined ? undefined : await snapshotFiles(folder, revision);
  if (revision === undefined || found === undefined) return undefined;
  const wanted = source.file === undefined ? found : found.filter(({ file }) => file === source.file);
  if (wanted.length === 0) return undefined;
  const record = await readRecord(folder, revision);
  const snapshot = snapshotPath(folder, revision);
  const signal = hub.client.signal;
  const files = [];
  for (const { file, bytes } of wanted) {
    const known = record?.files.find((one) => one.file === file && one.bytes === bytes)?.sha256;
    const sha256 = known ?? (await hashFile(join(snapshot, file), onProgress, signal ? { signal } : {}));
    files.push({ name: file, bytes, sha256 });
  }
  const path = source.file === undefined ? snapshot : join(snapshot, source.file);
  return { path, name: source.name, revision, files, downloadedBytes: 0 };
}

/** The folder of a commit that was pulled whole: commits do not change, so nobody need be asked. */
export async function wholeCommit(hub: Hub, source: RemoteSource): Promise<boolean> {
  if (source.kind !== "hub" || !COMMIT.test(source.revision)) return false;
  const { folder } = cachedModel(hub.settings, source);
  const record = await readRecord(folder, source.revision);
  const wanted = record?.files.filter(({ file }) => source.file === undefined || file === source.file) ?? [];
  const enough = source.file === undefined ? record?.complete === true : wanted.length > 0;
  return enough && isWhole(folder, record, wanted);
}

export function notCached(source: RemoteSource): Error {
  return inputError(
    `${source.name} is not in the cache, and HF_HUB_OFFLINE is set; pull it while there is a network.`,
  );
}
