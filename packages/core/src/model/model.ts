/**
 * A model: a checkpoint seen through its spec. Dense Hugging Face folders, GGUF files and packed layouts all
 * become this, and everything above core (runtime, compress, evaluate, cli) sees nothing else.
 */
import { SubbitError } from "../errors.js";
import type { Checkpoint } from "../checkpoints/types.js";
import type { LinearEntry, SubbitManifest } from "../layouts/manifest.js";
import type { OpenedLayout } from "../layouts/official-layout.js";
import type { DenseLinear, Linear, Table } from "../linears/types.js";
import type { LinearSite, ModelSpec, NormSite, Projection } from "./spec.js";

export interface Model {
  readonly spec: ModelSpec;
  readonly checkpoint: Checkpoint;
  /** Present when the source is in the subbit layout. */
  readonly manifest?: SubbitManifest;
  /** Present when the source is in the layout of an official implementation. */
  readonly layout?: OpenedLayout;
  /** Reads one linear; nothing is cached. */
  linear(site: LinearSite): Promise<Linear>;
  /** Weight as it multiplies (the spec's `weightOffset` added) and, for a layer norm, bias; [normSize]. */
  norm(site: NormSite): Promise<{ weight: Float32Array; bias?: Float32Array }>;
  /** [vocabSize, embeddingSize] */
  embedding(): Promise<Table>;
  /** [vocabSize, embeddingSize]; the embedding itself when the head is tied. */
  head(): Promise<Table>;
  /** [rows, hiddenSize], where the spec has learned positions. */
  positions?(): Promise<DenseLinear>;
  /** Where the spec has matrices between the embedding size and the hidden size. */
  projection?(end: Projection): Promise<DenseLinear>;
  close(): Promise<void>;
}

/** Tensor of divisors of the inverse rotary frequencies: GGUF's way to carry llama3 scaling, kept where config.json has none. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** How a linear is packed, in whatever layout; `undefined` for one that is dense by its checkpoint. */
export function packedEntry({ manifest, layout }: Model, name: string): LinearEntry | undefined {
  return manifest?.linears[name] ?? layout?.linears.get(name)?.entry;
}

/** A matrix at an end that the model's spec has. Throws `internal` for one that it has not. */
export async function endMatrix(model: Model, end: "positions" | Projection): Promise<DenseLinear> {
  const matrix = await (end === "positions" ? model.positions?.() : model.projection?.(end));
  if (matrix === undefined) {
    throw new SubbitError("internal", `The model has no matrix "${end}", which its spec asks for.`);
  }
  return matrix;
}

/** Whether the model's linears are packed already, in whatever layout. */
export function isPacked({ manifest, layout }: Model): boolean {
  return manifest !== undefined || layout !== undefined;
}
