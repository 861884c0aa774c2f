/**
 * Thread counts on disk, in the user's cache folder: one small file, read and written whole. Whatever is wrong with it counts as
 * nothing remembered, and a failure to write is no failure of a load.
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { cpus, homedir, loadavg } from "node:os";
import { dirname, join } from "node:path";
import type { ThreadChoice } from "../executors/types.js";

const FILE_NAME = "threads.json";
/** Machines change: other work runs on them, firmware sets other clocks. */
const MAX_AGE_MS = 7 * 24 * 3600 * 1000;
const MAX_ENTRIES = 200;
/** Runnable threads a processor, over the last minute, from which a machine counts as busy. */
const BUSY = 0.75;

type Entry = ThreadChoice & { readonly measuredAt: number };

/** `SUBBIT_CACHE`, else the platform's place for caches. */
export function cacheFolder(): string {
  const { SUBBIT_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (SUBBIT_CACHE) return SUBBIT_CACHE;
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "subbit");
  if (process.platform === "win32")
    return join(LOCALAPPDATA || join(homedir(), "AppData", "Local"), "subbit", "Cache");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "subbit");
}

export async function readThreadChoice(key: string): Promise<ThreadChoice | undefined> {
  const entry = (await readEntries()).get(machineKey(key));
  return entry && { threads: entry.threads, milliseconds: entry.milliseconds };
}

export async function writeThreadChoice(key: string, choice: ThreadChoice): Promise<void> {
  // What was found while others kept the processors busy holds for now, not for a week.
  if (loadavg()[0] > BUSY * cpus().length) return;
  let temporary = "";
  try {
    const path = join(cacheFolder(), FILE_NAME);
    temporary = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}`;
    const entries = await readEntries();
    const name = machineKey(key);
    entries.delete(name);
    const kept = [...entries, [name, { ...choice, measuredAt: Date.now() }] as const].slice(-MAX_ENTRIES);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, JSON.stringify(Object.fromEntries(kept)));
    await rename(temporary, path);
  } catch {
    if (temporary !== "") await rm(temporary, { force: true }).catch(() => undefined);
  }
}

function machineKey(key: string): string {
  const found = cpus();
  return `${found[0]?.model ?? process.arch} x ${found.length}, V8 ${process.versions.v8}: ${key}`;
}

/** Those that are well-formed and not too old. */
async function readEntries(): Promise<Map<string, Entry>> {
  try {
    const json: unknown = JSON.parse(await readFile(join(cacheFolder(), FILE_NAME), "utf8"));
    if (typeof json !== "object" || json === null) return new Map();
    const entries = Object.entries(json).filter((pair): pair is [string, Entry] => isEntry(pair[1]));
    return new Map(entries);
  } catch {
    return new Map();
  }
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== "object" || value === null) return false;
  const { threads, milliseconds, measuredAt } = value as Record<string, unknown>;
  const age = typeof measuredAt === "number" ? Date.now() - measuredAt : Infinity;
  return (
    Number.isInteger(threads) &&
    (threads as number) >= 1 &&
    (threads as number) <= 64 &&
    typeof milliseconds === "object" &&
    milliseconds !== null &&
    Object.values(milliseconds).every(Number.isFinite) &&
    age >= 0 &&
    age < MAX_AGE_MS
  );
}
