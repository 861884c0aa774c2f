/**
 * One run per work folder. The lock names its process, so that a killed run's lock is recognised at once: no waiting
 * for a time-out, and no heartbeat that a long computation could starve.
 */
import { randomUUID } from "node:crypto";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { SubbitError } from "@subbit/core";
import { isCode } from "./files.js";

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Start time of the process where the system tells it: a reused pid is another process. */
  readonly started: string;
  readonly token: string;
}

/** Takes the lock file at `path`; returns how to release it. Throws `usage` while another live process holds it. */
export async function takeLock(path: string): Promise<() => Promise<void>> {
  const own: Holder = {
    pid: process.pid,
    host: hostname(),
    started: await startOf(process.pid),
    token: randomUUID(),
  };
  const text = JSON.stringify(own);
  for (;;) {
    try {
      await writeFile(path, text, { flag: "wx" });
      return async () => {
        if ((await readHolder(path))?.token === own.token) await rm(path, { force: true });
      };
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
    }
    const holder = await readHolder(path);
    if (holder !== undefined && (await isAlive(holder))) {
      throw new SubbitError(
        "usage",
        `Another run (process ${holder.pid} on ${holder.host}) is using ${path}; wait for it, or remove that file if it is gone.`,
      );
    }
    await removeStale(path, holder?.token);
  }
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Holder;
  } catch (error) {
    if (isCode(error, "ENOENT") || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
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
  const aside = `${path}.${process.pid}.stale`;
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
