/** GGUF names and keys that architectures share. Names: llama.cpp's gguf-py/gguf/tensor_mapping.py. */
import { inputError } from "../../../errors.js";
import type { JsonObject } from "../../json.js";
import { rowsOf } from "../../shapes.js";
import { findCount, findNumber, findText, requireCount, requireNumber } from "../metadata.js";
import type { ArchitectureInput } from "./types.js";

export const TOP_NAMES = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
} as const;

export const ATTENTION_NAMES = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
} as const;

export const HEAD_NORM_NAMES = {
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
} as const;

export const MLP_NAMES = {
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
} as const;

/** The config fields of any architecture, from keys that begin with its name. Throws `input` where one is missing. */
export function commonConfig(name: string, { metadata, tensors }: ArchitectureInput): JsonObject {
  const key = (rest: string): string => `${name}.${rest}`;
  if ((findCount(metadata, key("expert_count")) ?? 0) > 0) {
    throw inputError("The GGUF file holds a mixture of experts, which is not supported; use a dense model.");
  }
  const hidden = requireCount(metadata, key("embedding_length"));
  const heads = requireCount(metadata, key("attention.head_count"));
  const embedding = tensors.get("token_embd.weight");
  return {
    hidden_size: hidden,
    intermediate_size: requireCount(metadata, key("feed_forward_length")),
    num_hidden_layers: requireCount(metadata, key("block_count")),
    num_attention_heads: heads,
    num_key_value_heads: findCount(metadata, key("attention.head_count_kv")) ?? heads,
    head_dim: findCount(metadata, key("attention.key_length")) ?? Math.floor(hidden / heads),
    rms_norm_eps: requireNumber(metadata, key("attention.layer_norm_rms_epsilon")),
    rope_theta: findNumber(metadata, key("rope.freq_base")) ?? 10000,
    rope_scaling: ropeScaling(name, { metadata, tensors }),
    max_position_embeddings: requireCount(metadata, key("context_length")),
    vocab_size: embedding ? rowsOf(embedding.shape) : requireCount(metadata, key("vocab_size")),
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: findCount(metadata, "tokenizer.ggml.bos_token_id") ?? null,
    eos_token_id: findCount(metadata, "tokenizer.ggml.eos_token_id") ?? null,
    pad_token_id: findCount(metadata, "tokenizer.ggml.padding_token_id") ?? null,
  };
}

/** `rope_scaling` of config.json; kinds other than linear are passed on by name, for the model spec to judge. */
export function ropeScaling(name: string, { metadata }: ArchitectureInput): JsonObject | null {
  const kind = findText(metadata, `${name}.rope.scaling.type`);
  // Files of 2023 have the factor alone, and mean linear.
  const factor =
    findNumber(metadata, `${name}.rope.scaling.factor`) ?? findNumber(metadata, `${name}.rope.scale_linear`);
  if (kind === "none" || (kind === undefined && (factor === undefined || factor === 1))) return null;
  const original = findCount(metadata, `${name}.rope.scaling.original_context_length`);
  return {
    type: kind ?? "linear",
    rope_type: kind ?? "linear",
    ...(factor === undefined ? {} : { factor }),
    ...(original === undefined ? {} : { original_max_position_embeddings: original }),
  };
}
