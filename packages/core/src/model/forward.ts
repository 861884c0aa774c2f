/**
 * The forward pass of a transformer, written once over `Ops<T>`. No architecture logic lives anywhere else.
 * The lookup in the embedding and the product with the head belong to the backends: one is a gather, the other a linear
 * over `ModelSpec.names.head`, whose logits `logitSoftcap` of the spec may bound.
 */
import type { HeadNormSite, Ops } from "./ops.js";
import { layerKind, type ModelSpec, type NormRole } from "./spec.js";

/** Rows of the embedding [tokens, embedding size] -> hidden states that enter the first block. */
export function enterForward<T>(ops: Ops<T>, spec: ModelSpec, rows: T): T {
  const { embeddingScale, projected, positions } = spec.ends;
  const scaled = embeddingScale === 1 ? rows : ops.scale(rows, embeddingScale);
  const hidden = projected ? ops.projection(scaled, "in") : scaled;
  return positions === undefined ? hidden : ops.addPositions(hidden, positions.offset);
}

/** Hidden states that enter block `layer` -> hidden states that leave it. */
export function blockForward<T>(ops: Ops<T>, spec: ModelSpec, layer: number, hidden: T): T {
  const attended = branch(ops, spec, layer, hidden, ["attention-norm", "attention-out-norm"], (x) =>
    attentionForward(ops, spec, layer, x),
  );
  return branch(ops, spec, layer, attended, ["mlp-norm", "mlp-out-norm"], (x) =>
    mlpForward(ops, spec, layer, x),
  );
}

/** The residual stream plus what a branch makes of it, with the norms where the family has them. */
function branch<T>(
  ops: Ops<T>,
  spec: ModelSpec,
  layer: number,
  hidden: T,
  [first, second]: readonly [NormRole, NormRole],
  inner: (x: T) => T,
): T {
  const norm = (x: T, role: NormRole): T => ops.norm(x, spec.norm, { layer, role });
  if (spec.normPlacement === "after") return norm(ops.add(hidden, inner(hidden)), first);
  const made = inner(norm(hidden, first));
  return ops.add(hidden, spec.normPlacement === "around" ? norm(made, second) : made);
}

function attentionForward<T>(ops: Ops<T>, spec: ModelSpec, layer: number, x: T): T {
  const { heads, kvHeads, headDim } = spec.attention;
  const { rope, window } = layerKind(spec, layer);
  const placed = (role: "q" | "k", count: number, norm: HeadNormSite["role"]): T => {
    const projected = ops.linear(x, { layer, role });
    const normed = spec.norms.includes(norm)
      ? ops.headNorm(projected, count, headDim, spec.norm, { layer, role: norm })
      : projected;
    return rope === undefined ? normed : ops.rope(normed, count, headDim, rope);
  };
  const q = placed("q", heads, "q-norm");
  const k = placed("k", kvHeads, "k-norm");
  const v = ops.linear(x, { layer, role: "v" });
  const attention = { ...spec.attention, ...(window !== undefined && { window }) };
  return ops.linear(ops.attention(q, k, v, attention, layer), { layer, role: "o" });
}

function mlpForward<T>(ops: Ops<T>, spec: ModelSpec, layer: number, x: T): T {
  const { kind, activation } = spec.mlp;
  if (kind === "plain") {
    const up = ops.activation(ops.linear(x, { layer, role: "up" }), activation);
    return ops.linear(up, { layer, role: "down" });
  }
  const gate = ops.activation(ops.linear(x, { layer, role: "gate" }), activation);
  return ops.linear(ops.multiply(gate, ops.linear(x, { layer, role: "up" })), { layer, role: "down" });
}

/** Hidden states that leave the last block -> what the head multiplies, [tokens, embedding size]. */
export function leaveForward<T>(ops: Ops<T>, spec: ModelSpec, hidden: T): T {
  const { finalNorm, projected } = spec.ends;
  const normed = finalNorm ? ops.norm(hidden, spec.norm, { role: "final-norm" }) : hidden;
  return projected ? ops.projection(normed, "out") : normed;
}
