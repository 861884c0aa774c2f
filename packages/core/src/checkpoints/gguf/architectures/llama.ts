/**
 * `llama`: Llama 1 to 3, SmolLM2, TinyLlama, Mistral. Keys: GGUF specification, section "LLM".
 *
 * No key tells that a file uses Llama 3 rope scaling: llama.cpp stores the tensor `rope_freqs.weight` [head_dim / 2]
 * instead, whose values DIVIDE the inverse frequencies. It is passed on under that name.
 */
import type { JsonObject } from "../../json.js";
import { findCount } from "../metadata.js";
import { ATTENTION_NAMES, MLP_NAMES, TOP_NAMES, commonConfig } from "./names.js";
import type { ArchitectureInput, GgufArchitecture } from "./types.js";

export const llama: GgufArchitecture = {
  name: "llama",
  topNames: TOP_NAMES,
  blockNames: { ...ATTENTION_NAMES, ffn_norm: "post_attention_layernorm", ...MLP_NAMES },
  permuted: { attn_q: "heads", attn_k: "kv-heads" },
  config: llamaConfig,
};

function llamaConfig(input: ArchitectureInput): JsonObject {
  const { metadata, tensors } = input;
  const common = commonConfig("llama", input);
  const headDim =
    findCount(metadata, "llama.attention.key_length") ?? findCount(metadata, "llama.rope.dimension_count");
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    ...common,
    ...(headDim !== undefined && { head_dim: headDim }),
    attention_bias: tensors.has("blk.0.attn_q.bias"),
    mlp_bias: tensors.has("blk.0.ffn_gate.bias"),
  };
}
