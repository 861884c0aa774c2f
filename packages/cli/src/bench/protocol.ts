/** What the bench and the processes that it measures say to one another. */
import type { SubbitErrorCode } from "@subbit/core";
import type { LoadOptions } from "@subbit/runtime";

export type EngineName = "subbit" | "node-llama-cpp";

/** Options of our own runtime that are measured. */
export type RuntimeOptions = Pick<LoadOptions, "signBits" | "kvBits">;

export interface OpenOrder {
  readonly runtime: RuntimeOptions;
  readonly path: string;
  /** undefined: the engine's own choice. */
  readonly threads: number | undefined;
  /** Tokens that prompt and continuation need at most. */
  readonly contextTokens: number;
  /** Ids that are measured with are below it. */
  readonly vocabSize: number;
  /** Where node-llama-cpp lies. */
  readonly library?: string | undefined;
}

export interface RoundOrder {
  /** Prompt lengths, ascending. */
  readonly prefill: readonly number[];
  /** Tokens in the context when decoding starts, descending. */
  readonly contexts: readonly number[];
  readonly decodeTokens: number;
  /** How long to run before the first figure: compilers replace code on threads of their own. */
  readonly warmUpMs: number;
  /** A figure is measured again while other programs keep more cores than this busy; undefined: never. */
  readonly quietCores: number | undefined;
}

export type Order =
  | ({ readonly kind: "open" } & OpenOrder)
  | ({ readonly kind: "round" } & RoundOrder)
  | { readonly kind: "tokenizer" }
  | { readonly kind: "rest"; readonly ms: number };

export interface Opened {
  readonly loadMs: number;
  /** Threads that compute. */
  readonly threads: number;
  /** In words: which kernels, why so many threads. */
  readonly about: string;
}

export interface Memory {
  readonly rssBytes: number;
  readonly peakRssBytes: number;
}

/** Processor time while nothing is asked of the model. */
export interface Idle {
  readonly cpuMs: number;
  readonly wallMs: number;
}

export interface Round extends Memory {
  /** Tokens a second by prompt length. */
  readonly prefill: Readonly<Record<number, number>>;
  /** Tokens a second by context. */
  readonly decode: Readonly<Record<number, number>>;
  /** Cores that other programs kept busy at the worst figure; absent where the system does not tell. */
  readonly othersCores?: number;
}

export type Answer =
  | { readonly kind: "opened"; readonly opened: Opened }
  | { readonly kind: "round"; readonly round: Round }
  /** Absent where the model has no tokenizer files or the engine reads them with the model. */
  | { readonly kind: "tokenizer"; readonly ms?: number | undefined }
  | { readonly kind: "rest"; readonly idle: Idle }
  | { readonly kind: "error"; readonly code: SubbitErrorCode; readonly message: string };

/** Deterministic ids below `vocabSize`, no two neighbours alike; the first few, often special, are left out. */
export function benchIds(count: number, vocabSize: number): number[] {
  const skipped = Math.min(16, vocabSize >> 2);
  const range = vocabSize - skipped;
  return Array.from({ length: count }, (_, i) => skipped + ((Math.imul(i + 1, 0x9e3779b1) >>> 0) % range));
}
