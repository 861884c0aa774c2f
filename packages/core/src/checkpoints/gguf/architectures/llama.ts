/**
 * `llama`: Llama 1 to 3, SmolLM2, TinyLlama, Mistral. Keys: GGUF specification, section "LLM"; names: llama.cpp's
 * gguf-py/gguf/tensor_mapping.py.
 *
 * No key tells that a file uses Llama 3 rope scaling: llama.cpp stores the tensor `rope_freqs.weight` [head_dim / 2]
 * instead, whose values DIVIDE the inverse frequencies. It is passed on under that name.
 */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { rowsOf } from "../../shapes.js";
import { findCount, findNumber, findText, requireCount, requireNumber } from "../metadata.js";
import type { Metadata } from "../parse.js";
import type { ArchitectureInput, GgufArchitecture } from "./types.js";

export const llama: GgufArchitecture = {
  name: "llama",
  topNames: { token_embd: "model.embed_tokens", output_norm: "model.norm", output: "lm_head" },
  blockNames: {
    attn_norm: "input_layernorm",
    attn_q: "self_attn.q_proj",
    attn_k: "self_attn.k_proj",
    attn_v: "self_attn.v_proj",
    attn_output: "self_attn.o_proj",
    ffn_norm: "post_attention_layernorm",
    ffn_gate: "mlp.gate_proj",
    ffn_up: "mlp.up_proj",
    ffn_down: "mlp.down_proj",
  },
  permuted: { attn_q: "heads", attn_k: "kv-heads" },
  config: llamaConfig,
};

function llamaConfig({ metadata, tensors }: ArchitectureInput): JsonObject {
  if ((findCount(metadata, "llama.expert_count") ?? 0) > 0) {
    throw inputError("The GGUF file holds a mixture of experts, which is not supported; use a dense model.");
  }
  const hidden = requireCount(metadata, "llama.embedding_length");
  const heads = requireCount(metadata, "llama.attention.head_count");
  const headDim =
    findCount(metadata, "llama.attention.key_length") ??
    findCount(metadata, "llama.rope.dimension_count") ??
    Math.floor(hidden / heads);
  const embedding = tensors.get("token_embd.weight");
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: requireCount(metadata, "llama.feed_forward_length"),
    num_hidden_layers: requireCount(metadata, "llama.block_count"),
    num_attention_heads: heads,
    num_key_value_heads: findCount(metadata, "llama.attention.head_count_kv") ?? heads,
    head_dim: headDim,
    attention_bias: tensors.has("blk.0.attn_q.bias"),
    mlp_bias: tensors.has("blk.0.ffn_gate.bias"),
    rms_norm_eps: requireNumber(metadata, "llama.attention.layer_norm_rms_epsilon"),
    rope_theta: findNumber(metadata, "llama.rope.freq_base") ?? 10000,
    rope_scaling: ropeScaling(metadata),
    max_position_embeddings: requireCount(metadata, "llama.context_length"),
    vocab_size: embedding ? rowsOf(embedding.shape) : requireCount(metadata, "llama.vocab_size"),
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: findCount(metadata, "tokenizer.ggml.bos_token_id") ?? null,
    eos_token_id: findCount(metadata, "tokenizer.ggml.eos_token_id") ?? null,
    pad_token_id: findCount(metadata, "tokenizer.ggml.padding_token_id") ?? null,
  };
}

/** `rope_scaling` of config.json; kinds other than linear are passed on by name, for the model spec to judge. */
function ropeScaling(metadata: Metadata): JsonObject | null {
  const kind = findText(metadata, "llama.rope.scaling.type");
  // Files of 2023 have the factor alone, and mean linear.
  const factor =
    findNumber(metadata, "llama.rope.scaling.factor") ?? findNumber(metadata, "llama.rope.scale_linear");
  if (kind === "none" || (kind === undefined && (factor === undefined || factor === 1))) return null;
  const original = findCount(metadata, "llama.rope.scaling.original_context_length");
  return {
    type: kind ?? "linear",
    rope_type: kind ?? "linear",
    ...(factor === undefined ? {} : { factor }),
    ...(original === undefined ? {} : { original_max_position_embeddings: original }),
  };
}
