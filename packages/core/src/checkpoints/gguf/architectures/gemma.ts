/**
 * `gemma2` and `gemma3` (text). The converter of llama.cpp stores norms as they multiply, 1 + weight; Hugging Face stores the
 * weight, so 1 is taken off on the way in. No row is moved.
 */
import type { JsonObject } from "../../json.js";
import { findCount, findNumber } from "../metadata.js";
import {
  ATTENTION_NAMES,
  HEAD_NORM_NAMES,
  MLP_NAMES,
  TOP_NAMES,
  commonConfig,
  ropeScaling,
} from "./names.js";
import type { ArchitectureInput, GgufArchitecture } from "./types.js";

const NORM_NAMES = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
} as const;

/** Blocks of the 27B models, whose scores are scaled by hidden size / heads instead of the head size (llama.cpp has no key for it). */
const LARGE = { gemma2: 46, gemma3: 62 } as const;

export const gemma2: GgufArchitecture = {
  name: "gemma2",
  topNames: TOP_NAMES,
  blockNames: { ...ATTENTION_NAMES, ...NORM_NAMES, ...MLP_NAMES },
  permuted: {},
  shiftedNorms: true,
  config: (input) => ({
    architectures: ["Gemma2ForCausalLM"],
    model_type: "gemma2",
    ...gemmaConfig("gemma2", input),
    attn_logit_softcapping: findNumber(input.metadata, "gemma2.attn_logit_softcapping") ?? 50,
    final_logit_softcapping: findNumber(input.metadata, "gemma2.final_logit_softcapping") ?? 30,
  }),
};

export const gemma3: GgufArchitecture = {
  ...gemma2,
  name: "gemma3",
  blockNames: { ...gemma2.blockNames, ...HEAD_NORM_NAMES },
  config: (input) => ({
    architectures: ["Gemma3ForCausalLM"],
    model_type: "gemma3_text",
    ...gemmaConfig("gemma3", input),
    rope_theta: findNumber(input.metadata, "gemma3.rope.freq_base") ?? 1e6,
    rope_local_base_freq: findNumber(input.metadata, "gemma3.rope.freq_base_swa") ?? 1e4,
    rope_scaling: ropeScaling("gemma3", input),
    sliding_window_pattern: findCount(input.metadata, "gemma3.attention.sliding_window_pattern") ?? 6,
  }),
};

function gemmaConfig(name: "gemma2" | "gemma3", input: ArchitectureInput): JsonObject {
  const common = commonConfig(name, input);
  const [hidden, heads, headDim] = ["hidden_size", "num_attention_heads", "head_dim"].map((field) =>
    Number(common[field]),
  );
  return {
    ...common,
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: common["num_hidden_layers"] === LARGE[name] ? hidden / heads : headDim,
    sliding_window: findCount(input.metadata, `${name}.attention.sliding_window`) ?? 4096,
  };
}
