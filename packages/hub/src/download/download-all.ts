/** All files of a model: space first, then everything that is missing, with one progress over all of it. */
import { mkdir, stat, statfs } from "node:fs/promises";
import { SubbitError, type OnProgress } from "@subbit/core";
import type { HttpClient } from "../http/client.js";
import { forEachLimited } from "../http/semaphore.js";
import type { RemoteFile } from "../listing/types.js";
import { downloadFile } from "./download-file.js";
import { partBytes } from "./part-file.js";

const FILES_AT_ONCE = 3;
/** Left free for whoever else writes. */
const SPARE_BYTES = 64 * 2 ** 20;

export interface DownloadOptions {
  /** What is downloaded, for messages. */
  readonly name: string;
  /** Where the target files lie; made when it is not there. */
  readonly folder: string;
  readonly onProgress?: OnProgress | undefined;
  /** What comes again when a process ends in the middle of it. @default 8 MB */
  readonly blockBytes?: number | undefined;
  /** Free bytes of the disk that holds a folder. @default asks the system */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

export interface Downloaded {
  readonly file: RemoteFile;
  /** Absent for a file that was there already. */
  readonly sha256?: string;
}

/**
 * Brings every file to `targetOf(file)`; one that is there with its size is taken as whole, because only whole files get their
 * names. Throws `resources` before anything is fetched where the disk has not the space.
 */
export async function downloadAll(
  client: HttpClient,
  files: readonly RemoteFile[],
  targetOf: (file: RemoteFile) => string,
  options: DownloadOptions,
): Promise<Downloaded[]> {
  const { name, folder, onProgress, freeBytes = freeBytesOf } = options;
  await mkdir(folder, { recursive: true });
  const there = new Set<RemoteFile>();
  for (const file of files) if (await isThere(targetOf(file), file.bytes)) there.add(file);
  // Files of the same content are one file.
  const wanted = [
    ...new Map(files.filter((file) => !there.has(file)).map((file) => [targetOf(file), file])).values(),
  ];
  await requireSpace(wanted, targetOf, { name, folder, freeBytes });

  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const progress = new TotalProgress(`download ${name}`, total, onProgress);
  for (const file of files) if (!wanted.includes(file)) progress.set(file, file.bytes);
  const hashes = new Map<RemoteFile, string>();
  await forEachLimited(wanted, FILES_AT_ONCE, async (file) => {
    const callbacks = {
      onBytes: (done: number): void => progress.set(file, done),
      onHashed: (): void => progress.tick(),
    };
    hashes.set(file, await downloadFile(client, file, targetOf(file), callbacks, options.blockBytes));
  });
  return files.map((file) => {
    const sha256 = hashes.get(file);
    return { file, ...(sha256 !== undefined && { sha256 }) };
  });
}

async function isThere(path: string, bytes: number): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true && found.size === bytes;
}

async function requireSpace(
  files: readonly RemoteFile[],
  targetOf: (file: RemoteFile) => string,
  { name, folder, freeBytes }: Required<Pick<DownloadOptions, "name" | "folder" | "freeBytes">>,
): Promise<void> {
  let needed = 0;
  for (const file of files) needed += Math.max(0, file.bytes - (await partBytes(targetOf(file))));
  if (needed === 0) return;
  const free = await freeBytes(folder);
  if (needed + SPARE_BYTES <= free) return;
  throw new SubbitError(
    "resources",
    `Downloading ${name} takes ${needed} more bytes, but only ${free} are free in ${folder}; free some, or set SUBBIT_CACHE to another disk.`,
  );
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** One figure over all files; it never falls, although a file that has to come again begins anew. */
class TotalProgress {
  readonly #stage: string;
  readonly #total: number;
  readonly #onProgress: OnProgress | undefined;
  readonly #done = new Map<RemoteFile, number>();
  #most = 0;

  constructor(stage: string, total: number, onProgress: OnProgress | undefined) {
    this.#stage = stage;
    this.#total = total;
    this.#onProgress = onProgress;
  }

  set(file: RemoteFile, bytes: number): void {
    this.#done.set(file, bytes);
    let sum = 0;
    for (const done of this.#done.values()) sum += done;
    this.#most = Math.max(this.#most, sum);
    this.tick();
  }

  /** Something is going on, such as hashing. */
  tick(): void {
    this.#onProgress?.({ stage: this.#stage, done: this.#most, total: this.#total, unit: "bytes" });
  }
}
