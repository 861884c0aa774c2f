/** Qwen3 (dense): Qwen2 with an RMS norm of every head of queries and keys in front of the rotation, and biases by a field. */
import { z } from "zod";
import { parseConfig, wordField, type ModelConfig } from "../config-fields.js";
import { slidingLayers, switchedWindow } from "../layer-kinds.js";
import { readRope } from "../rope.js";
import type { ModelSpec } from "../spec.js";
import {
  ACTIVATIONS,
  HEAD_NORMS,
  LLAMA_NORMS,
  biasesByField,
  llamaLikeSpec,
  readCommon,
  refuseOther,
} from "./llama-like.js";

const ownFields = z.object({ hidden_act: wordField(ACTIVATIONS).default("silu") });

/** Where config.json does not say. */
const HEAD_DIM = 128;

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function qwen3Spec(config: ModelConfig, source: string): ModelSpec {
  const common = readCommon(config, source, { headDim: HEAD_DIM });
  refuseOther(config, "mlp_bias", false, source);
  const rope = readRope(config, common.headDim, source);
  const window = switchedWindow(config, common.layers, common.maxPositions, source);
  return llamaLikeSpec(common, {
    family: "qwen3",
    activation: parseConfig(ownFields, config, source).hidden_act,
    layers: slidingLayers(config, window, { local: rope, global: rope }, source),
    bias: biasesByField(config, source),
    normNames: {
      "attention-norm": LLAMA_NORMS["attention-norm"],
      ...HEAD_NORMS,
      "mlp-norm": LLAMA_NORMS["mlp-norm"],
    },
  });
}
