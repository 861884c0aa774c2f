/**
 * A model spec: one plain object per checkpoint that says everything the forward pass needs to know about an
 * architecture. Families differ only in the spec they build (families/*.ts); the forward pass is written once.
 */

export interface NormSpec {
  readonly kind: "rms" | "layer";
  readonly eps: number;
}

/** Rotary position embedding in the half-split (Hugging Face) layout. */
export interface RopeSpec {
  /** [headDim / 2] inverse frequencies, scaling rules (linear, llama3 ...) already applied. */
  readonly inverseFrequencies: Float64Array;
}

export interface AttentionSpec {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Multiplies q k^T. */
  readonly scale: number;
}

export type Activation = "silu" | "gelu" | "gelu-tanh" | "relu";

export interface MlpSpec {
  readonly kind: "gated";
  readonly activation: Activation;
  readonly intermediateSize: number;
}

/** The linears of a block, in the order the forward pass meets them. */
export type LinearRole = "q" | "k" | "v" | "o" | "gate" | "up" | "down";
export const LINEAR_ROLES: readonly LinearRole[] = ["q", "k", "v", "o", "gate", "up", "down"];

/** The norms of a block. */
export type NormRole = "attention-norm" | "mlp-norm";

/** Where a weight sits in the model. */
export interface LinearSite {
  readonly layer: number;
  readonly role: LinearRole;
}
export type NormSite = { readonly layer: number; readonly role: NormRole } | { readonly role: "final-norm" };

export interface LinearShape {
  readonly rows: number;
  readonly cols: number;
  readonly bias: boolean;
}

/** Tensor names in the Hugging Face layout of the family. Linear and norm names carry no `.weight` or `.bias`. */
export interface TensorNames {
  linear(site: LinearSite): string;
  norm(site: NormSite): string;
  readonly embedding: string;
  readonly head: string;
}

export interface ModelSpec {
  /** `model_type` of config.json. */
  readonly family: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  /** Longest context the model was trained for, in tokens. */
  readonly maxPositions: number;
  readonly tiedHead: boolean;
  readonly norm: NormSpec;
  readonly rope: RopeSpec;
  readonly attention: AttentionSpec;
  readonly mlp: MlpSpec;
  readonly linearShapes: Readonly<Record<LinearRole, LinearShape>>;
  readonly names: TensorNames;
}
