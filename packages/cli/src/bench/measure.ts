/**
 * The measurement itself: every engine, file and thread count is a process of its own; rounds go through all of them in turn,
 * so that what is compared was measured in the same minutes.
 */
import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { freemem } from "node:os";
import { SubbitError, throwIfAborted, type OnProgress } from "@subbit/core";
import { formatBytes } from "../output/format.js";
import { BenchChild, type OpenedChild } from "./child.js";
import type { EngineName, Round, RuntimeOptions } from "./protocol.js";
import { spreadOf, type Spread } from "./statistics.js";

/** One process. */
export interface Contestant {
  readonly engine: EngineName;
  /** As the user named it. */
  readonly file: string;
  readonly path: string;
  /** undefined: the engine's own choice. */
  readonly threads: number | undefined;
  /** What its process will take, estimated. */
  readonly memoryBytes: number;
  readonly fileBytes: number;
}

export interface MeasureOptions {
  readonly prefill: readonly number[];
  readonly contexts: readonly number[];
  readonly decodeTokens: number;
  readonly warmUpMs: number;
  /** As in a round's order. */
  readonly quietCores: number | undefined;
  /** How long each process is watched at rest; 0: not at all. */
  readonly idleMs: number;
  readonly rounds: number;
  readonly vocabSize: number;
  readonly contextTokens: number;
  readonly runtime: RuntimeOptions;
  readonly library: string | undefined;
  /** Files of the contestants, read once beforehand so that nobody waits for the disk. */
  readonly warmFiles: readonly string[];
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export interface Row {
  readonly engine: EngineName;
  readonly file: string;
  readonly fileBytes: number;
  readonly threads: number;
  /** The engine chose the number of threads. */
  readonly auto: boolean;
  /** Median at the length that stands for all: 512, or the nearest. */
  readonly prefillTokensPerSecond: number;
  /** Median at the smallest context. */
  readonly decodeTokensPerSecond: number;
  /** From the file to a model that answers, the tokenizer aside. */
  readonly loadMs: number;
  /** From the start of the process to there. */
  readonly startMs: number;
  readonly tokenizerMs?: number;
  readonly rssBytes: number;
  readonly peakRssBytes: number;
  /** By prompt length. */
  readonly prefill: Readonly<Record<string, Spread>>;
  /** By tokens in the context. */
  readonly decode: Readonly<Record<string, Spread>>;
  readonly load: Spread;
  /** Processor time that the process takes while it waits, in percent of one core; absent without idleMs. */
  readonly idleCpuPercent?: number;
  /** Cores that other programs kept busy at the worst figure of each round; absent where the system does not tell. */
  readonly othersCores?: Spread;
  readonly about: string;
}

/** The prompt length whose figure stands for all. */
const TYPICAL_PREFILL = 512;
const READ_STEP = 1 << 22;

interface Measured {
  readonly contestant: Contestant;
  readonly opened: OpenedChild[];
  readonly rounds: Round[];
  tokenizerMs: number | undefined;
  idleShare: number | undefined;
}

export async function measure(contestants: readonly Contestant[], options: MeasureOptions): Promise<Row[]> {
  const { prefill, contexts, decodeTokens, warmUpMs, quietCores, idleMs, rounds, signal, onProgress } =
    options;
  const keepOpen = checkMemory(contestants);
  for (const file of options.warmFiles) await readThrough(file, signal);
  const records: Measured[] = contestants.map((contestant) => ({
    contestant,
    opened: [],
    rounds: [],
    tokenizerMs: undefined,
    idleShare: undefined,
  }));
  const children = new Map<Measured, BenchChild>();
  const endAll = (): void => children.forEach((child) => void child.end());
  signal.addEventListener("abort", endAll);
  const total = rounds * contestants.length;
  let done = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < records.length; turn++) {
        throwIfAborted(signal);
        // Everybody starts a round once: whoever follows whom changes.
        const record = records[(turn + round) % records.length];
        onProgress({ stage: "measure", done, total, unit: "steps", note: nameOf(record.contestant) });
        const child = children.get(record) ?? (await openChild(record, children, options));
        record.rounds.push(await child.round({ prefill, contexts, decodeTokens, warmUpMs, quietCores }));
        const last = round === rounds - 1;
        if (last && idleMs > 0) record.idleShare = await child.idleShare(idleMs);
        if (last) record.tokenizerMs = await child.tokenizerMs();
        if (last || !keepOpen) {
          await child.end();
          children.delete(record);
        }
        done++;
      }
    }
  } catch (error) {
    // A killed child's last words are no explanation of an interruption.
    throwIfAborted(signal);
    throw error;
  } finally {
    signal.removeEventListener("abort", endAll);
    await Promise.all([...children.values()].map((child) => child.end()));
  }
  onProgress({ stage: "measure", done, total, unit: "steps" });
  return records.map((record) => rowOf(record, options));
}

async function openChild(
  record: Measured,
  children: Map<Measured, BenchChild>,
  { vocabSize, contextTokens, runtime, library }: MeasureOptions,
): Promise<BenchChild> {
  const { engine, path, threads } = record.contestant;
  const child = new BenchChild(engine, nameOf(record.contestant));
  children.set(record, child);
  record.opened.push(await child.open({ path, threads, contextTokens, vocabSize, runtime, library }));
  return child;
}

/** Whether all may stay open at once. Throws `resources` when one alone does not fit. */
function checkMemory(contestants: readonly Contestant[]): boolean {
  const free = freemem();
  const largest = contestants.reduce((a, b) => (b.memoryBytes > a.memoryBytes ? b : a));
  if (largest.memoryBytes > free) {
    throw new SubbitError(
      "resources",
      `Measuring ${nameOf(largest)} takes about ${formatBytes(largest.memoryBytes)} of memory, but ${formatBytes(free)} are free; close other programs or ask for shorter --context and --prefill.`,
    );
  }
  return contestants.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0) <= free;
}

/** Brings a file into the system's cache. */
async function readThrough(path: string, signal: AbortSignal): Promise<void> {
  if (statSync(path).size > freemem() / 2) return;
  const file = await open(path);
  try {
    const buffer = new Uint8Array(READ_STEP);
    while ((await file.read(buffer, 0, READ_STEP)).bytesRead > 0) throwIfAborted(signal);
  } finally {
    await file.close();
  }
}

function rowOf(
  { contestant, opened, rounds, tokenizerMs, idleShare }: Measured,
  options: MeasureOptions,
): Row {
  const spreads = (lengths: readonly number[], part: "prefill" | "decode"): Record<string, Spread> =>
    Object.fromEntries(
      [...lengths]
        .sort((a, b) => a - b)
        .map((length) => [String(length), spreadOf(rounds.map((round) => round[part][length]))]),
    );
  const prefill = spreads(options.prefill, "prefill");
  const decode = spreads(options.contexts, "decode");
  const load = spreadOf(opened.map(({ loadMs }) => loadMs));
  const others = rounds.flatMap(({ othersCores }) => (othersCores === undefined ? [] : [othersCores]));
  const memory = rounds.map(({ rssBytes }) => rssBytes);
  return {
    engine: contestant.engine,
    file: contestant.file,
    fileBytes: contestant.fileBytes,
    threads: opened[0].threads,
    auto: contestant.threads === undefined,
    prefillTokensPerSecond: prefill[typicalPrefill(options.prefill)].median,
    decodeTokensPerSecond: decode[Math.min(...options.contexts)].median,
    loadMs: load.median,
    startMs: spreadOf(opened.map(({ startMs }) => startMs)).median,
    ...(tokenizerMs !== undefined && { tokenizerMs }),
    rssBytes: Math.max(...memory),
    peakRssBytes: Math.max(...rounds.map(({ peakRssBytes }) => peakRssBytes)),
    prefill,
    decode,
    load,
    ...(idleShare !== undefined && { idleCpuPercent: 100 * idleShare }),
    ...(others.length > 0 && { othersCores: spreadOf(others) }),
    about: opened[0].about,
  };
}

export function typicalPrefill(lengths: readonly number[]): number {
  return lengths.reduce((best, length) =>
    Math.abs(length - TYPICAL_PREFILL) < Math.abs(best - TYPICAL_PREFILL) ? length : best,
  );
}

function nameOf({ engine, file, threads }: Contestant): string {
  const count = threads === undefined ? "auto" : threads === 1 ? "1 thread" : `${threads} threads`;
  return `${file} (${engine}, ${count})`;
}
