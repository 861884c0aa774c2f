/** Qwen2 and Qwen2.5: Llama with biases on queries, keys and values, and a sliding window from some layer on. */
import { z } from "zod";
import { parseConfig, wordField, type ModelConfig } from "../config-fields.js";
import { slidingLayers, switchedWindow } from "../layer-kinds.js";
import { readRope } from "../rope.js";
import type { ModelSpec } from "../spec.js";
import { ACTIVATIONS, LLAMA_NORMS, llamaLikeSpec, readCommon } from "./llama-like.js";

const ownFields = z.object({ hidden_act: wordField(ACTIVATIONS).default("silu") });

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function qwen2Spec(config: ModelConfig, source: string): ModelSpec {
  const common = readCommon(config, source);
  const rope = readRope(config, common.headDim, source);
  const window = switchedWindow(config, common.layers, common.maxPositions, source);
  return llamaLikeSpec(common, {
    family: "qwen2",
    activation: parseConfig(ownFields, config, source).hidden_act,
    layers: slidingLayers(config, window, { local: rope, global: rope }, source),
    bias: (role) => ({ bias: ["q", "k", "v"].includes(role) }),
    normNames: LLAMA_NORMS,
  });
}
