/**
 * The forward pass of a transformer, written once over `Ops<T>`. No architecture logic lives anywhere else.
 * Embedding lookup and head are the ends of the pass and belong to the backends: one is a gather, the other a linear
 * over `ModelSpec.names.head`.
 */
import type { Ops } from "./ops.js";
import type { ModelSpec } from "./spec.js";

/** Hidden states that enter block `layer` -> hidden states that leave it. */
export function blockForward<T>(ops: Ops<T>, spec: ModelSpec, layer: number, hidden: T): T {
  const attended = ops.add(hidden, attentionForward(ops, spec, layer, hidden));
  return ops.add(attended, mlpForward(ops, spec, layer, attended));
}

function attentionForward<T>(ops: Ops<T>, spec: ModelSpec, layer: number, hidden: T): T {
  const { heads, kvHeads, headDim } = spec.attention;
  const x = ops.norm(hidden, spec.norm, { layer, role: "attention-norm" });
  const q = ops.rope(ops.linear(x, { layer, role: "q" }), heads, headDim, spec.rope);
  const k = ops.rope(ops.linear(x, { layer, role: "k" }), kvHeads, headDim, spec.rope);
  const v = ops.linear(x, { layer, role: "v" });
  return ops.linear(ops.attention(q, k, v, spec.attention, layer), { layer, role: "o" });
}

function mlpForward<T>(ops: Ops<T>, spec: ModelSpec, layer: number, hidden: T): T {
  const x = ops.norm(hidden, spec.norm, { layer, role: "mlp-norm" });
  const gate = ops.activation(ops.linear(x, { layer, role: "gate" }), spec.mlp.activation);
  return ops.linear(ops.multiply(gate, ops.linear(x, { layer, role: "up" })), { layer, role: "down" });
}

/** The last norm, in front of the head. */
export function finalNorm<T>(ops: Ops<T>, spec: ModelSpec, hidden: T): T {
  return ops.norm(hidden, spec.norm, { role: "final-norm" });
}
