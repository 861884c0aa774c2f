/**
 * A model spec: one plain object per checkpoint that says everything the forward pass needs to know about an
 * architecture. Families differ only in the spec they build (families/*.ts); the forward pass is written once.
 */

export interface NormSpec {
  readonly kind: "rms" | "layer";
  readonly eps: number;
  /**
   * Added to the weight as checkpoints store it (1 for Gemma). Only those who read or write tensors see it: `Model.norm`
   * gives the weight that multiplies.
   */
  readonly weightOffset: number;
}

/** Where a block's norms stand: before each branch, after its sum with the residual, or before and after the branch. */
export type NormPlacement = "before" | "after" | "around";

/** Rotary position embedding in the half-split (Hugging Face) layout. */
export interface RopeSpec {
  /** [rotated features / 2] inverse frequencies, scaling rules (linear, llama3 ...) already applied. */
  readonly inverseFrequencies: Float64Array;
  /** Multiplies cosines and sines (longrope's attention factor). */
  readonly factor: number;
  /** What stands for `inverseFrequencies`, at every position, in texts of more than `above` tokens (longrope). */
  readonly long?: { readonly above: number; readonly inverseFrequencies: Float64Array };
}

export interface AttentionSpec {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Multiplies q k^T. */
  readonly scale: number;
  /** Scores s become cap * tanh(s / cap) before the softmax. */
  readonly softcap?: number;
  /** A query sees this many positions, its own included; all before it when absent. */
  readonly window?: number;
}

/** What differs between the layers of a model. */
export interface LayerKind {
  /** Absent where positions are not rotary. */
  readonly rope?: RopeSpec;
  /** See `AttentionSpec.window`. */
  readonly window?: number;
}

export type Activation = "silu" | "gelu" | "gelu-tanh" | "relu";

export interface MlpSpec {
  /** `gated`: down(act(gate x) o up x); `plain`: down(act(up x)). */
  readonly kind: "gated" | "plain";
  readonly activation: Activation;
  readonly intermediateSize: number;
}

/** What stands before the first block and behind the last. */
export interface EndsSpec {
  /** Columns of embedding and head; the hidden size unless `projected`. */
  readonly embeddingSize: number;
  /** Multiplies the embedding's rows. */
  readonly embeddingScale: number;
  /** A table of position vectors: row `position + offset` is added to a token's embedding. */
  readonly positions?: { readonly rows: number; readonly offset: number };
  /** Whether matrices lead from the embedding size to the hidden size and back. */
  readonly projected: boolean;
  readonly finalNorm: boolean;
  /** Logits l become cap * tanh(l / cap). */
  readonly logitSoftcap?: number;
}

/** The linears that blocks are made of, in the order the forward pass meets them; `ModelSpec.linears` says which a model has. */
export type LinearRole = "q" | "k" | "v" | "o" | "gate" | "up" | "down";
export const LINEAR_ROLES: readonly LinearRole[] = ["q", "k", "v", "o", "gate", "up", "down"];

/** The norms that blocks are made of; `ModelSpec.norms` says which a model has. */
export type NormRole =
  | "attention-norm"
  /** Of every head of the queries, and of the keys. */
  | "q-norm"
  | "k-norm"
  | "attention-out-norm"
  | "mlp-norm"
  | "mlp-out-norm";

/** A matrix between the embedding size and the hidden size, at either end. */
export type Projection = "in" | "out";

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
  /** The config field that decides about the bias, for messages; absent where the family does. */
  readonly biasField?: string;
}

/** A tensor that holds the rows of several linears, one after another. */
export interface FusedTensor {
  /** No `.weight` or `.bias`. */
  readonly name: string;
  readonly parts: readonly { readonly name: string; readonly rows: number }[];
}

/** Tensor names in the Hugging Face layout of the family. Linear and norm names carry no `.weight` or `.bias`. */
export interface TensorNames {
  linear(site: LinearSite): string;
  norm(site: NormSite): string;
  readonly embedding: string;
  readonly head: string;
  /** Learned positions, where there are any. */
  readonly positions?: string;
  /** Without `.weight`, where there are any. */
  readonly projection?: (end: Projection) => string;
  /** How dense checkpoints of the family store linears together. */
  readonly fused?: (layer: number) => readonly FusedTensor[];
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
  readonly normPlacement: NormPlacement;
  readonly attention: Omit<AttentionSpec, "window">;
  /** The distinct kinds of layers. */
  readonly layerKinds: readonly LayerKind[];
  /** [layers] index into `layerKinds`. */
  readonly kindOfLayer: readonly number[];
  readonly mlp: MlpSpec;
  readonly ends: EndsSpec;
  /** Linears of a block, in the order of LINEAR_ROLES. */
  readonly linears: readonly LinearRole[];
  /** Norms of a block, in the order the forward pass meets them. */
  readonly norms: readonly NormRole[];
  /** Of the roles in `linears`. */
  readonly linearShapes: Readonly<Record<LinearRole, LinearShape>>;
  readonly names: TensorNames;
}

/** The kind of layer number `layer`. */
export function layerKind(spec: ModelSpec, layer: number): LayerKind {
  return spec.layerKinds[spec.kindOfLayer[layer]];
}

/** Features that a norm works on. */
export function normSize(spec: ModelSpec, role: NormRole | "final-norm"): number {
  return role === "q-norm" || role === "k-norm" ? spec.attention.headDim : spec.hiddenSize;
}

/** Whether a norm has a bias: layer norms do. */
export function normHasBias(spec: ModelSpec): boolean {
  return spec.norm.kind === "layer";
}

/** Every norm of the model: those of the blocks, layer by layer, then the final one where there is one. */
export function normSites(spec: ModelSpec): NormSite[] {
  const sites: NormSite[] = [];
  for (let layer = 0; layer < spec.layers; layer++)
    sites.push(...spec.norms.map((role) => ({ layer, role })));
  if (spec.ends.finalNorm) sites.push({ role: "final-norm" });
  return sites;
}

/** Every linear of the blocks, layer by layer. */
export function linearSites(spec: ModelSpec): LinearSite[] {
  return Array.from({ length: spec.layers }, (_, layer) =>
    spec.linears.map((role) => ({ layer, role })),
  ).flat();
}

/** [rows, cols] of a projection at an end. */
export function projectionShape(spec: ModelSpec, end: Projection): { rows: number; cols: number } {
  const { embeddingSize } = spec.ends;
  return end === "in"
    ? { rows: spec.hiddenSize, cols: embeddingSize }
    : { rows: embeddingSize, cols: spec.hiddenSize };
}

/** A value for each linear of a block. */
export function ofLinears<T>(
  spec: ModelSpec,
  make: (role: LinearRole) => T,
): Readonly<Record<LinearRole, T>> {
  return Object.fromEntries(spec.linears.map((role) => [role, make(role)])) as unknown as Record<
    LinearRole,
    T
  >;
}

/** The inverse frequencies of a text of `tokens` tokens. */
export function ropeFrequencies({ inverseFrequencies, long }: RopeSpec, tokens: number): Float64Array {
  return long !== undefined && tokens > long.above ? long.inverseFrequencies : inverseFrequencies;
}
