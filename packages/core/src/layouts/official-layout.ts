/**
 * What a layout of an official implementation is to this program: how its checkpoints are recognised, read and written.
 * A layout is one file that makes one object of this type, and one line in registry.ts.
 */
import type { TensorDeclaration } from "../checkpoints/safetensors/encode.js";
import type { Checkpoint } from "../checkpoints/types.js";
import type { FactoredLinear, OneBitLinear } from "../linears/types.js";
import type { ModelConfig } from "../model/config-fields.js";
import type { LinearShape, LinearSite, ModelSpec } from "../model/spec.js";
import type { FactoredEntry, OneBitEntry } from "./manifest.js";

export type OfficialLayoutName = "littlebit" | "onebit" | "dbf" | "mdbf" | "nanoquant";

export type PackedLinear = FactoredLinear | OneBitLinear;

/** A packed linear of a checkpoint: checked to be there with these shapes, not read yet. */
export interface StoredLinear {
  readonly entry: FactoredEntry | OneBitEntry;
  /** Tensors that hold its bits; what describes them (shape tensors and the like) is not counted. */
  readonly tensors: readonly { readonly name: string; readonly part: "signs" | "scales" }[];
  /** Everything but the bias. Throws `input` for scales that are not finite, and for damaged signs. */
  read(): Promise<PackedLinear>;
}

/** A tensor of a linear as it is written; signs are made from the linear when their turn comes. */
export interface EncodedTensor extends TensorDeclaration {
  readonly data: Uint8Array | ((linear: PackedLinear) => Uint8Array);
}

/** What a layout's files say about the whole model, beside its tensors. */
export interface EncodedConfig {
  readonly config: ModelConfig;
  /** Side files by name. @default none */
  readonly texts?: ReadonlyMap<string, string>;
  /** Sentences about what the official code will make of it. @default none */
  readonly notes?: readonly string[];
}

/** A linear of the model that is written, without its values. */
export interface LinearToWrite {
  readonly site: LinearSite;
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  /** Of each path; empty for OneBit and dense linears. */
  readonly ranks: readonly number[];
  readonly envelope: number;
  readonly kind: "factored" | "onebit" | "dense";
}

export interface EncodeOptions {
  /** What the checkpoint that the model was read from is in this layout; absent for another layout. */
  readonly source?: OpenedLayout | undefined;
}

export interface OfficialLayout {
  readonly name: OfficialLayoutName;
  /** Whether these are the tensors of a checkpoint in this layout. */
  matches(names: Iterable<string>): boolean;
  /** The usual name of one of its tensors. @default the same */
  usualName?(name: string): string;
  /** config.json without what the layout adds to the base model's. */
  baseConfig(config: ModelConfig): ModelConfig;
  /** A linear; `undefined` where it is not packed. Throws `input` for wrong dtypes and shapes. */
  linear(checkpoint: Checkpoint, name: string, shape: LinearShape): StoredLinear | undefined;
  /** Whether the official code drops biases, so that they are missing in the file. @default false */
  readonly dropsBias?: boolean;

  /** Name of the weight file; the ending says which format it has. */
  readonly weightFile: "model.safetensors" | "pytorch_model.bin" | "checkpoint.pt";
  /** In which the official code writes scales. */
  readonly ownDtype: "F32" | "F16" | "BF16";
  /** Whether linears may be left dense. */
  readonly keepsDense: boolean;
  /** The tensors of a linear (no bias). Throws `input` with the reason where the layout cannot hold it. */
  encodeLinear(name: string, linear: PackedLinear, options: EncodeOptions): EncodedTensor[];
  /** Throws `input` with the reason where the layout cannot hold the model. */
  encodeConfig(
    base: ModelConfig,
    spec: ModelSpec,
    linears: readonly LinearToWrite[],
    options: EncodeOptions,
  ): EncodedConfig;
  /** The file's name of a tensor. @default the usual one */
  writtenName?(name: string, options: EncodeOptions): string;
}

/** A checkpoint that was opened in an official layout. */
export interface OpenedLayout {
  readonly name: OfficialLayoutName;
  /** By linear name, in model order; linears that were left dense are absent. */
  readonly linears: ReadonlyMap<string, StoredLinear>;
  /** Whether the official code drops biases, so that missing ones are zero. */
  readonly dropsBias: boolean;
  /** The checkpoint as it is, with the file's own names and config. */
  readonly original: Checkpoint;
}
