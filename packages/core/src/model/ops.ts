/**
 * The operations a transformer's forward pass is made of. A backend gives them a meaning for its own `T`:
 * the engine builds graph nodes, the runtime emits program instructions, the reference computes plain arrays.
 * Activations are logically [tokens, features]; batching is the backend's affair.
 */
import type { Activation, AttentionSpec, LinearSite, NormSite, NormSpec, RopeSpec } from "./spec.js";

export interface Ops<T> {
  /** [tokens, features], weight (and bias, for a layer norm) at `site`. */
  norm(x: T, spec: NormSpec, site: NormSite): T;
  /** y = W x + bias; whatever the linear at `site` is made of. */
  linear(x: T, site: LinearSite): T;
  /** Rotates the heads of [tokens, heads * headDim]. */
  rope(x: T, heads: number, headDim: number, spec: RopeSpec): T;
  /** Causal attention. q [tokens, heads * headDim], k and v [tokens, kvHeads * headDim]; `layer` names the cache. */
  attention(q: T, k: T, v: T, spec: AttentionSpec, layer: number): T;
  activation(x: T, kind: Activation): T;
  add(a: T, b: T): T;
  /** Elementwise. */
  multiply(a: T, b: T): T;
}
