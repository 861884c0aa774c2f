/** What has to be known of an architecture to read its GGUF files as Hugging Face checkpoints. */
import type { TensorInfo } from "../../types.js";
import type { JsonObject } from "../../json.js";
import type { Metadata } from "../parse.js";

export interface ArchitectureInput {
  readonly metadata: Metadata;
  /** By GGUF name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Values of `configTensors`, of those that the file has. */
  readonly values?: ReadonlyMap<string, Float32Array>;
}

/** Whose heads the rows of a tensor belong to. */
export type HeadKind = "heads" | "kv-heads";

export interface GgufArchitecture {
  /** `general.architecture`. */
  readonly name: string;
  /** GGUF tensor stem to Hugging Face stem (without `.weight` or `.bias`). */
  readonly topNames: Readonly<Record<string, string>>;
  /** The same for tensors of a block: `blk.N.<key>` to `model.layers.N.<value>`. */
  readonly blockNames: Readonly<Record<string, string>>;
  /** Block tensors whose rows are stored in interleaved rotary order. */
  readonly permuted: Readonly<Record<string, HeadKind>>;
  /** Whether norm weights are stored as they multiply where Hugging Face stores them less 1. @default false */
  readonly shiftedNorms?: boolean;
  /** Small tensors that config.json holds as lists. */
  readonly configTensors?: readonly string[];
  /** config.json as Hugging Face writes it. Throws `input` when the metadata lacks what a model needs. */
  config(input: ArchitectureInput): JsonObject;
}

/** The Hugging Face name of a tensor; names that the tables do not have stay as they are (`rope_freqs.weight`). */
export function hubName(architecture: GgufArchitecture, name: string): string {
  const dot = name.lastIndexOf(".");
  const stem = name.slice(0, dot);
  const suffix = name.slice(dot);
  if (suffix !== ".weight" && suffix !== ".bias") return name;
  const block = /^blk\.(\d+)\.(.+)$/.exec(stem);
  if (block !== null) {
    const mapped = lookUp(architecture.blockNames, block[2]);
    return mapped === undefined ? name : `model.layers.${block[1]}.${mapped}${suffix}`;
  }
  const mapped = lookUp(architecture.topNames, stem);
  return mapped === undefined ? name : mapped + suffix;
}

/** Whose heads the rows of this tensor are to be reordered by, if at all. */
export function headKindOf(architecture: GgufArchitecture, name: string): HeadKind | undefined {
  const block = /^blk\.\d+\.([^.]+)\.(?:weight|bias)$/.exec(name);
  return block === null ? undefined : lookUp(architecture.permuted, block[1]);
}

/** What is to be added to the stored values of a tensor. */
export function shiftOf(architecture: GgufArchitecture, name: string): number {
  return architecture.shiftedNorms === true && /norm\.weight$/.test(name) ? -1 : 0;
}

function lookUp<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
