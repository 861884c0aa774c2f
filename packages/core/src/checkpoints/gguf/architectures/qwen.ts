/** `qwen2` and `qwen3` (dense). llama.cpp rotates the two halves of a head here, as Hugging Face does: no row is moved. */
import { ATTENTION_NAMES, HEAD_NORM_NAMES, MLP_NAMES, TOP_NAMES, commonConfig } from "./names.js";
import type { GgufArchitecture } from "./types.js";

export const qwen2: GgufArchitecture = {
  name: "qwen2",
  topNames: TOP_NAMES,
  blockNames: { ...ATTENTION_NAMES, ffn_norm: "post_attention_layernorm", ...MLP_NAMES },
  permuted: {},
  config: (input) => ({
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    hidden_act: "silu",
    ...commonConfig("qwen2", input),
    use_sliding_window: false,
  }),
};

export const qwen3: GgufArchitecture = {
  ...qwen2,
  name: "qwen3",
  blockNames: { ...qwen2.blockNames, ...HEAD_NORM_NAMES },
  config: (input) => ({
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    hidden_act: "silu",
    ...commonConfig("qwen3", input),
    attention_bias: input.tensors.has("blk.0.attn_q.bias"),
    use_sliding_window: false,
  }),
};
