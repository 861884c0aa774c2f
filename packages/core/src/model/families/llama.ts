/**
 * The Llama family: Llama 1 to 3, SmolLM2, TinyLlama and everything else whose config says `model_type: "llama"`.
 * Pre-norm blocks with RMS norms, rotary positions, grouped-query attention, a gated MLP, optional biases, optional tied head.
 */
import { z } from "zod";
import { parseConfig, wordField, type ModelConfig } from "../config-fields.js";
import { uniformLayers } from "../layer-kinds.js";
import { readRope } from "../rope.js";
import type { ModelSpec } from "../spec.js";
import { ACTIVATIONS, LLAMA_NORMS, biasesByField, llamaLikeSpec, readCommon } from "./llama-like.js";

const ownFields = z.object({ hidden_act: wordField(ACTIVATIONS).default("silu") });

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function llamaSpec(config: ModelConfig, source: string): ModelSpec {
  const common = readCommon(config, source);
  return llamaLikeSpec(common, {
    family: "llama",
    activation: parseConfig(ownFields, config, source).hidden_act,
    layers: uniformLayers(common.layers, { rope: readRope(config, common.headDim, source) }),
    bias: biasesByField(config, source),
    normNames: LLAMA_NORMS,
  });
}
