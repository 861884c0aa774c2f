/**
 * Phi-3, Phi-3.5 and Phi-4 (not the mixture of experts): Llama with q, k and v stored as one matrix and gate and up as
 * another, heads that may be rotated in part, and longrope.
 */
import { z } from "zod";
import { LIMITS, countField, parseConfig, wordField, type ModelConfig } from "../config-fields.js";
import { slidingLayers } from "../layer-kinds.js";
import { readRope } from "../rope.js";
import type { FusedTensor, LinearRole, ModelSpec } from "../spec.js";
import {
  ACTIVATIONS,
  LLAMA_NORMS,
  llamaLikeSpec,
  llamaLinearName,
  readCommon,
  refuseOther,
  type CommonFields,
} from "./llama-like.js";

const ownFields = z.object({
  hidden_act: wordField(ACTIVATIONS).default("silu"),
  sliding_window: countField(LIMITS.positions).nullish(),
});

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function phi3Spec(config: ModelConfig, source: string): ModelSpec {
  const common = readCommon(config, source);
  const fields = parseConfig(ownFields, config, source);
  for (const field of ["attention_bias", "mlp_bias", "lm_head_bias"])
    refuseOther(config, field, false, source);
  const rope = readRope(config, common.headDim, source, { partial: true });
  const window = {
    layers: common.layers,
    maxPositions: common.maxPositions,
    slides: () => true,
    window: fields.sliding_window ?? undefined,
  };
  return llamaLikeSpec(common, {
    family: "phi3",
    activation: fields.hidden_act,
    layers: slidingLayers(config, window, { local: rope, global: rope }, source),
    bias: () => ({ bias: false }),
    normNames: LLAMA_NORMS,
    fused: (layer) => fusedTensors(common, layer),
  });
}

function fusedTensors(
  { heads, kvHeads, headDim, intermediateSize }: CommonFields,
  layer: number,
): FusedTensor[] {
  const part = (role: LinearRole, rows: number) => ({ name: llamaLinearName(layer, role), rows });
  return [
    {
      name: `model.layers.${layer}.self_attn.qkv_proj`,
      parts: [part("q", heads * headDim), part("k", kvHeads * headDim), part("v", kvHeads * headDim)],
    },
    {
      name: `model.layers.${layer}.mlp.gate_up_proj`,
      parts: [part("gate", intermediateSize), part("up", intermediateSize)],
    },
  ];
}
