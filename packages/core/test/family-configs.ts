/**
 * config.json of a tiny model of every family, with everything on that sets the family apart: windows shorter than the texts
 * of tests, soft caps low enough to bend, all biases, both kinds of layers, norms on either side.
 */
const COMMON = {
  vocab_size: 29,
  hidden_size: 12,
  intermediate_size: 14,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
};

const OPT = {
  model_type: "opt",
  vocab_size: 29,
  hidden_size: 12,
  ffn_dim: 14,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 128,
};

export const FAMILY_CONFIGS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  llama: { ...COMMON, model_type: "llama" },
  qwen2: {
    ...COMMON,
    model_type: "qwen2",
    use_sliding_window: true,
    sliding_window: 4,
    max_window_layers: 1,
    tie_word_embeddings: true,
  },
  qwen3: { ...COMMON, model_type: "qwen3", attention_bias: true },
  phi3: {
    ...COMMON,
    model_type: "phi3",
    partial_rotary_factor: 0.5,
    sliding_window: 5,
    original_max_position_embeddings: 8,
    rope_scaling: { type: "longrope", short_factor: [1.5], long_factor: [3] },
  },
  gemma2: {
    ...COMMON,
    model_type: "gemma2",
    query_pre_attn_scalar: 6,
    sliding_window: 3,
    attn_logit_softcapping: 2,
    final_logit_softcapping: 3,
  },
  gemma3_text: {
    ...COMMON,
    model_type: "gemma3_text",
    query_pre_attn_scalar: 6,
    sliding_window: 3,
    sliding_window_pattern: 2,
    rope_local_base_freq: 100,
    rope_theta: 1e6,
  },
  opt: OPT,
  "opt, norms after": {
    ...OPT,
    do_layer_norm_before: false,
    word_embed_proj_dim: 8,
    activation_function: "gelu_new",
  },
  "opt without biases": {
    ...OPT,
    enable_bias: false,
    activation_function: "gelu",
    tie_word_embeddings: false,
  },
};
