/** Who takes part: the model at every thread count, and every file it is compared with. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { inputError, openModel, SubbitError, type Model } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { isRemoteSource } from "@subbit/hub";
import { findLlama } from "./find-llama.js";
import type { Contestant } from "./measure.js";

export interface ContestOptions {
  /** A source. */
  readonly path: string;
  /** Where a source lies on this machine. */
  readonly locate: (source: string) => Promise<string>;
  readonly name: string;
  readonly against: readonly string[];
  readonly threads: readonly number[];
  readonly auto: boolean;
  readonly prefill?: readonly number[];
  readonly context?: readonly number[];
  readonly decodeTokens: number;
  readonly warn: (sentence: string) => void;
}

export interface Contest {
  readonly contestants: readonly Contestant[];
  /** Ascending. */
  readonly prefill: readonly number[];
  /** Descending. */
  readonly contexts: readonly number[];
  readonly contextTokens: number;
  /** Keys and values of the context at 16 bits each. */
  readonly cacheBytes16: number;
  readonly vocabSize: number;
  readonly library: string | undefined;
  readonly warmFiles: readonly string[];
}

const DEFAULT_PREFILL = [128, 512, 2048];
const DEFAULT_CONTEXTS = [64, 256, 1024];
/** A process without a model. */
const PROCESS_BYTES = 150e6;
/** Scratch, tables and copies of one tensor while a packed model is read. */
const PACKED_FACTOR = 1.3;
/** node-llama-cpp maps its file and keeps a copy in another order. */
const LLAMA_FACTOR = 2.2;

/** Checks everything that can be wrong before anything is measured. */
export async function prepareContest(options: ContestOptions): Promise<Contest> {
  const main = await options.locate(options.path);
  const others: { file: string; path: string; llama: boolean }[] = [];
  for (const file of options.against)
    others.push({ file, path: await pathOf(file, options), llama: isGguf(file) });
  const library = others.some(({ llama }) => llama) ? findLlama() : undefined;
  const seen = [options.name, ...options.against];
  if (new Set(seen).size < seen.length) {
    throw new SubbitError("usage", "A file was given twice; give each once.");
  }
  const { spec, sizes } = await withModel(main, (model) => ({ spec: model.spec, sizes: sizesOf(model) }));
  const { prefill, contexts } = lengthsOf(options, spec.maxPositions);
  const contextTokens = Math.max(Math.max(...prefill) + 1, Math.max(...contexts) + options.decodeTokens);
  const { kvHeads, headDim } = spec.attention;
  const cacheBytes = 2 * 4 * spec.layers * kvHeads * headDim * contextTokens;

  const contestants: Contestant[] = [];
  const counts = [...new Set(options.threads)].sort((a, b) => a - b);
  const add = (
    engine: Contestant["engine"],
    file: string,
    path: string,
    fileBytes: number,
    bytes: number,
  ) => {
    const all: (number | undefined)[] = engine === "subbit" && options.auto ? [...counts, undefined] : counts;
    const memoryBytes = PROCESS_BYTES + cacheBytes + bytes;
    for (const threads of all) contestants.push({ engine, file, path, threads, memoryBytes, fileBytes });
  };
  add("subbit", options.name, main, sizes.fileBytes, sizes.memoryBytes);
  for (const { file, path, llama } of others) {
    if (llama) {
      const { size } = statSync(path);
      add("node-llama-cpp", file, path, size, size * LLAMA_FACTOR);
    } else {
      const other = await withModel(path, sizesOf);
      add("subbit", file, path, other.fileBytes, other.memoryBytes);
    }
  }
  const warmFiles = [main, ...others.map(({ path }) => path)].flatMap(weightFiles);
  return {
    contestants,
    prefill,
    contexts,
    contextTokens,
    cacheBytes16: cacheBytes / 2,
    vocabSize: spec.vocabSize,
    library,
    warmFiles,
  };
}

async function withModel<R>(path: string, body: (model: Model) => R): Promise<R> {
  const checkpoint = await openCheckpointAt(path);
  try {
    return body(await openModel(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

/** Bytes on disk, and in memory: GGUF weights are widened, packed ones are kept. */
function sizesOf({ checkpoint }: Model): { fileBytes: number; memoryBytes: number } {
  const { fileBytes } = checkpoint;
  if (checkpoint.format !== "gguf") return { fileBytes, memoryBytes: fileBytes * PACKED_FACTOR };
  let elements = 0;
  for (const { shape } of checkpoint.tensors.values())
    elements += shape.reduce((count, size) => count * size, 1);
  return { fileBytes, memoryBytes: elements * 4 * PACKED_FACTOR };
}

async function pathOf(file: string, { locate }: ContestOptions): Promise<string> {
  if (!isGguf(file) || isRemoteSource(file)) return locate(file);
  const path = resolve(file);
  if (!existsSync(path))
    throw inputError(`${file} was to be measured against, but there is no such file; check the path.`);
  return path;
}

function isGguf(file: string): boolean {
  return /\.gguf$/i.test(file);
}

/** Lengths that were asked for must fit; of the usual ones those that fit are taken. */
function lengthsOf(options: ContestOptions, positions: number): { prefill: number[]; contexts: number[] } {
  const { decodeTokens, warn } = options;
  const fit = (
    what: string,
    asked: readonly number[] | undefined,
    usual: readonly number[],
    room: number,
  ): number[] => {
    const tooLong = (asked ?? []).find((length) => length > room);
    if (tooLong !== undefined || room < 1) {
      throw new SubbitError(
        "usage",
        `${what} ${tooLong ?? 1} was asked for, but the context of the model holds ${positions} tokens, ${decodeTokens} decoded ones included; ask for ${Math.max(room, 0)} at most.`,
      );
    }
    if (asked !== undefined) return [...new Set(asked)];
    const fitting = usual.filter((length) => length <= room);
    if (fitting.length < usual.length) {
      warn(`The context of the model holds ${positions} tokens; longer figures of ${what} are left out.`);
    }
    return fitting.length > 0 ? fitting : [room];
  };
  const prefill = fit("--prefill", options.prefill, DEFAULT_PREFILL, positions - 1);
  const contexts = fit("--context", options.context, DEFAULT_CONTEXTS, positions - decodeTokens);
  return { prefill: prefill.sort((a, b) => a - b), contexts: contexts.sort((a, b) => b - a) };
}

function weightFiles(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join(path, name));
}
