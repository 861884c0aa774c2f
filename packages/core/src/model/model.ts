/**
 * A model: a checkpoint seen through its spec. Dense Hugging Face folders, GGUF files and packed layouts all
 * become this, and everything above core (runtime, compress, evaluate, cli) sees nothing else.
 */
import type { Checkpoint } from "../checkpoints/types.js";
import type { SubbitManifest } from "../layouts/manifest.js";
import type { DenseLinear, Linear, Table } from "../linears/types.js";
import type { LinearSite, ModelSpec, NormSite, Projection } from "./spec.js";

export interface Model {
  readonly spec: ModelSpec;
  readonly checkpoint: Checkpoint;
  /** Present when the source is in the subbit layout. */
  readonly manifest?: SubbitManifest;
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
