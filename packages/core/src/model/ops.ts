/**
 * The operations a transformer's forward pass is made of. A backend gives them a meaning for its own `T`:
 * the engine builds graph nodes, the runtime emits program instructions, the reference computes plain arrays.
 * Activations are logically [tokens, features]; batching is the backend's affair.
 */
import type {
  Activation,
  AttentionSpec,
  LinearSite,
  NormRole,
  NormSite,
  NormSpec,
  Projection,
  RopeSpec,
} from "./spec.js";

/** A norm of every head by itself. */
export interface HeadNormSite {
  readonly layer: number;
  readonly role: Extract<NormRole, "q-norm" | "k-norm">;
}

export interface Ops<T> {
  /** [tokens, features], weight (and bias, for a layer norm) at `site`. */
  norm(x: T, spec: NormSpec, site: NormSite): T;
  /** Norms each head of [tokens, heads * headDim]; the weight [headDim] is the same for all. */
  headNorm(x: T, heads: number, headDim: number, spec: NormSpec, site: HeadNormSite): T;
  /** y = W x + bias; whatever the linear at `site` is made of. */
  linear(x: T, site: LinearSite): T;
  /** y = W x, between the embedding size and the hidden size. */
  projection(x: T, end: Projection): T;
  /** Adds row `position + offset` of the learned positions to every token. */
  addPositions(x: T, offset: number): T;
  /** Rotates the heads of [tokens, heads * headDim], the features of which beyond the rotated ones stay as they are. */
  rope(x: T, heads: number, headDim: number, spec: RopeSpec): T;
  /** Causal attention. q [tokens, heads * headDim], k and v [tokens, kvHeads * headDim]; `layer` names the cache. */
  attention(q: T, k: T, v: T, spec: AttentionSpec, layer: number): T;
  activation(x: T, kind: Activation): T;
  add(a: T, b: T): T;
  /** Elementwise. */
  multiply(a: T, b: T): T;
  /** x * factor */
  scale(x: T, factor: number): T;
}
