/** What was pulled of a revision, `<model>/.subbit/<revision>.json`: which files belong to it, and their hashes. */
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { blobPath, snapshotPath } from "./layout.js";

export interface RecordedFile {
  readonly file: string;
  readonly bytes: number;
  /** Of the blob. */
  readonly id: string;
  readonly sha256: string;
}

export interface PullRecord {
  /** What users call the model. */
  readonly name: string;
  readonly revision: string;
  readonly files: readonly RecordedFile[];
  /** All that the model needs was pulled, not only what some globs took. */
  readonly complete: boolean;
}

export const RECORD_FOLDER = ".subbit";

function recordPath(folder: string, revision: string): string {
  return join(folder, RECORD_FOLDER, `${revision}.json`);
}

function isRecordedFile(value: Partial<Record<keyof RecordedFile, unknown>>): boolean {
  const { file, bytes, id, sha256 } = value;
  return typeof file === "string" && Number.isSafeInteger(bytes) && isHash(id, 40) && isHash(sha256, 64);
}

function isHash(value: unknown, digits: number): boolean {
  return typeof value === "string" && value.length >= digits && /^[0-9a-f]{40,64}$/.test(value);
}

/** `undefined` for none, and for one that cannot be read. */
export async function readRecord(folder: string, revision: string): Promise<PullRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(recordPath(folder, revision), "utf8")) as PullRecord;
    return record.files.every(isRecordedFile) ? record : undefined;
  } catch {
    return undefined;
  }
}

export async function writeRecord(folder: string, record: PullRecord): Promise<void> {
  const path = recordPath(folder, record.revision);
  await mkdir(dirname(path), { recursive: true });
  const beside = `${path}.${process.pid}.new`;
  await writeFile(beside, JSON.stringify(record, null, 1));
  await rename(beside, path);
}

/** Whether these files all are in the snapshot with their bytes. */
export async function isWhole(
  folder: string,
  record: PullRecord | undefined,
  wanted: readonly { readonly file: string; readonly id: string }[],
): Promise<boolean> {
  if (record === undefined) return false;
  for (const { file, id } of wanted) {
    const recorded = record.files.find((one) => one.file === file && one.id === id);
    if (recorded === undefined) return false;
    for (const path of [blobPath(folder, id), join(snapshotPath(folder, record.revision), file)]) {
      const found = await stat(path).catch(() => undefined);
      if (found?.size !== recorded.bytes) return false;
    }
  }
  return true;
}
