/**
 * The Llama family: Llama 1 to 3, SmolLM2, TinyLlama and everything else whose config says `model_type: "llama"`.
 * Pre-norm blocks with RMS norms, rotary positions, grouped-query attention, a gated MLP, optional biases, optional tied head.
 */
import { z } from "zod";
import { inputError } from "../../errors.js";
import {
  LIMITS,
  booleanField,
  countField,
  parseConfig,
  positiveField,
  wordField,
  type ModelConfig,
} from "../config-fields.js";
import { readRope } from "../rope.js";
import type {
  Activation,
  LinearRole,
  LinearShape,
  LinearSite,
  ModelSpec,
  NormRole,
  NormSite,
  TensorNames,
} from "../spec.js";

/** Spellings of `hidden_act` in transformers and what they mean. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
  relu: "relu",
};

const configFields = z.object({
  vocab_size: countField(LIMITS.vocabSize),
  hidden_size: countField(LIMITS.hiddenSize),
  intermediate_size: countField(LIMITS.intermediateSize),
  num_hidden_layers: countField(LIMITS.layers),
  num_attention_heads: countField(LIMITS.heads),
  num_key_value_heads: countField(LIMITS.heads).nullish(),
  head_dim: countField(LIMITS.headDim).nullish(),
  max_position_embeddings: countField(LIMITS.positions).default(2048),
  rms_norm_eps: positiveField(1).default(1e-6),
  hidden_act: wordField(ACTIVATIONS).default("silu"),
  attention_bias: booleanField().default(false),
  mlp_bias: booleanField().default(false),
  tie_word_embeddings: booleanField().default(false),
});

const LINEAR_NAMES: Readonly<Record<LinearRole, string>> = {
  q: "self_attn.q_proj",
  k: "self_attn.k_proj",
  v: "self_attn.v_proj",
  o: "self_attn.o_proj",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
};

const NORM_NAMES: Readonly<Record<NormRole, string>> = {
  "attention-norm": "input_layernorm",
  "mlp-norm": "post_attention_layernorm",
};

const names: TensorNames = {
  linear: (site: LinearSite) => `model.layers.${site.layer}.${LINEAR_NAMES[site.role]}`,
  norm: (site: NormSite) =>
    site.role === "final-norm" ? "model.norm" : `model.layers.${site.layer}.${NORM_NAMES[site.role]}`,
  embedding: "model.embed_tokens.weight",
  head: "lm_head.weight",
};

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function llamaSpec(config: ModelConfig, source: string): ModelSpec {
  const fields = parseConfig(configFields, config, source);
  const { hidden_size: hidden, num_attention_heads: heads, intermediate_size: intermediate } = fields;
  const kvHeads = fields.num_key_value_heads ?? heads;
  const headDim = fields.head_dim ?? hidden / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw inputError(
      fields.head_dim == null
        ? `The config of ${source} has hidden_size = ${hidden} and num_attention_heads = ${heads}, which gives the head dimension ${headDim}, but it must be an even integer.`
        : `The config of ${source} has head_dim = ${headDim}, but it must be even.`,
    );
  }
  if (heads % kvHeads !== 0) {
    throw inputError(
      `The config of ${source} has num_attention_heads = ${heads}, which is no multiple of num_key_value_heads = ${kvHeads}.`,
    );
  }
  const attention = fields.attention_bias;
  const mlp = fields.mlp_bias;
  const shape = (rows: number, cols: number, bias: boolean): LinearShape => ({ rows, cols, bias });
  return {
    family: "llama",
    vocabSize: fields.vocab_size,
    hiddenSize: hidden,
    layers: fields.num_hidden_layers,
    maxPositions: fields.max_position_embeddings,
    tiedHead: fields.tie_word_embeddings,
    norm: { kind: "rms", eps: fields.rms_norm_eps },
    rope: readRope(config, headDim, source),
    attention: { heads, kvHeads, headDim, scale: 1 / Math.sqrt(headDim) },
    mlp: { kind: "gated", activation: fields.hidden_act, intermediateSize: intermediate },
    linearShapes: {
      q: shape(heads * headDim, hidden, attention),
      k: shape(kvHeads * headDim, hidden, attention),
      v: shape(kvHeads * headDim, hidden, attention),
      o: shape(hidden, heads * headDim, attention),
      gate: shape(intermediate, hidden, mlp),
      up: shape(intermediate, hidden, mlp),
      down: shape(hidden, intermediate, mlp),
    },
    names,
  };
}
