/**
 * A lock file that names its process, so that a killed process's lock is recognised at once: no waiting for a time-out,
 * and no heartbeat that a long computation could starve.
 */
import { randomUUID } from "node:crypto";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";

export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** Start time of the process where the system tells it: a reused pid is another process. */
  readonly started: string;
  readonly token: string;
}

export type LockOutcome =
  | { readonly taken: true; readonly release: () => Promise<void> }
  | { readonly taken: false; readonly holder: LockHolder };

/** Takes the lock file at `path` unless a live process holds it (one on another host counts as alive). Does not wait. */
export async function tryProcessLock(path: string): Promise<LockOutcome> {
  const own: LockHolder = {
    pid: process.pid,
    host: hostname(),
    started: await startOf(process.pid),
    token: randomUUID(),
  };
  for (;;) {
    if (await createWhole(path, JSON.stringify(own), own.token)) {
      const release = async (): Promise<void> => {
        if ((await readHolder(path))?.token === own.token) await rm(path, { force: true });
      };
      return { taken: true, release };
    }
    const holder = await readHolder(path);
    if (holder !== undefined && (await isAlive(holder))) return { taken: false, holder };
    await removeStale(path, holder?.token);
  }
}

/** Whether the file could be made. It appears with its text: a reader never sees an empty lock. */
async function createWhole(path: string, text: string, token: string): Promise<boolean> {
  const beside = `${path}.${token}`;
  await writeFile(beside, text, { flag: "wx" });
  try {
    await link(beside, path);
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    if (!isCode(error, "EPERM", "ENOTSUP", "ENOSYS", "EMLINK")) throw error;
  } finally {
    await rm(beside, { force: true });
  }
  // A file system without hard links: the text follows a moment after the file.
  try {
    await writeFile(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    throw error;
  }
}

async function readHolder(path: string): Promise<LockHolder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as LockHolder;
  } catch (error) {
    if (isCode(error, "ENOENT") || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function isAlive(holder: LockHolder): Promise<boolean> {
  if (holder.host !== hostname()) return true;
  if (holder.pid === process.pid) return holder.started === (await startOf(process.pid));
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return isCode(error, "EPERM");
  }
  return (await startOf(holder.pid)) === holder.started;
}

/** Field 22 of /proc/PID/stat; empty where there is no such thing. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The command name (field 2) may hold blanks and brackets; fields are counted behind its last bracket.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

/** Moves the stale lock away by rename, which only one process wins; puts it back if it was a fresh one after all. */
async function removeStale(path: string, token: string | undefined): Promise<void> {
  const aside = `${path}.${randomUUID()}.stale`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (isCode(error, "ENOENT")) return;
    throw error;
  }
  const moved = await readHolder(aside);
  if (moved !== undefined && moved.token !== token) {
    await link(aside, path).catch((error: unknown) => {
      if (!isCode(error, "EEXIST")) throw error;
    });
  }
  await rm(aside, { force: true });
}

function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
