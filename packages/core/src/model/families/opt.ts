/**
 * OPT: layer norms with biases (before the branches, or after them in OPT-350m), learned positions from row 2 on, an
 * ungated MLP, a tied head, and matrices between embedding and hidden size where those differ (OPT-350m).
 */
import { z } from "zod";
import { inputError } from "../../errors.js";
import {
  LIMITS,
  booleanField,
  countField,
  parseConfig,
  wordField,
  type ModelConfig,
} from "../config-fields.js";
import { uniformLayers } from "../layer-kinds.js";
import type { LinearRole, LinearShape, ModelSpec, NormRole } from "../spec.js";
import { ACTIVATIONS, refuseOther } from "./llama-like.js";

const configFields = z.object({
  vocab_size: countField(LIMITS.vocabSize),
  hidden_size: countField(LIMITS.hiddenSize),
  word_embed_proj_dim: countField(LIMITS.hiddenSize).nullish(),
  ffn_dim: countField(LIMITS.intermediateSize),
  num_hidden_layers: countField(LIMITS.layers),
  num_attention_heads: countField(LIMITS.heads),
  max_position_embeddings: countField(LIMITS.positions).default(2048),
  activation_function: wordField(ACTIVATIONS).default("relu"),
  do_layer_norm_before: booleanField().default(true),
  enable_bias: booleanField().default(true),
  tie_word_embeddings: booleanField().default(true),
  _remove_final_layer_norm: booleanField().default(false),
});

/** Rows of the position table before that of position 0. */
const POSITION_OFFSET = 2;
/** What torch's LayerNorm has where nothing is said. */
const EPS = 1e-5;

const ROLES: readonly LinearRole[] = ["q", "k", "v", "o", "up", "down"];

const LINEAR_NAMES: Readonly<Partial<Record<LinearRole, string>>> = {
  q: "self_attn.q_proj",
  k: "self_attn.k_proj",
  v: "self_attn.v_proj",
  o: "self_attn.out_proj",
  up: "fc1",
  down: "fc2",
};

const NORM_NAMES: Readonly<Partial<Record<NormRole, string>>> = {
  "attention-norm": "self_attn_layer_norm",
  "mlp-norm": "final_layer_norm",
};

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function optSpec(config: ModelConfig, source: string): ModelSpec {
  const fields = parseConfig(configFields, config, source);
  refuseOther(config, "layer_norm_elementwise_affine", true, source);
  const { hidden_size: hidden, num_attention_heads: heads, ffn_dim: inner } = fields;
  const headDim = hidden / heads;
  if (!Number.isInteger(headDim)) {
    throw inputError(
      `The config of ${source} has hidden_size = ${hidden}, which is no multiple of num_attention_heads = ${heads}.`,
    );
  }
  const embeddingSize = fields.word_embed_proj_dim ?? hidden;
  const shapes = ROLES.map((role) => {
    const [rows, cols] =
      role === "up" ? [inner, hidden] : role === "down" ? [hidden, inner] : [hidden, hidden];
    return [role, { rows, cols, bias: fields.enable_bias, biasField: "enable_bias" }] as const;
  });
  return {
    family: "opt",
    vocabSize: fields.vocab_size,
    hiddenSize: hidden,
    layers: fields.num_hidden_layers,
    maxPositions: fields.max_position_embeddings,
    tiedHead: fields.tie_word_embeddings,
    norm: { kind: "layer", eps: EPS, weightOffset: 0 },
    normPlacement: fields.do_layer_norm_before ? "before" : "after",
    attention: { heads, kvHeads: heads, headDim, scale: 1 / Math.sqrt(headDim) },
    ...uniformLayers(fields.num_hidden_layers, {}),
    mlp: { kind: "plain", activation: fields.activation_function, intermediateSize: inner },
    ends: {
      embeddingSize,
      embeddingScale: 1,
      positions: { rows: fields.max_position_embeddings + POSITION_OFFSET, offset: POSITION_OFFSET },
      projected: embeddingSize !== hidden,
      finalNorm: fields.do_layer_norm_before && !fields._remove_final_layer_norm,
    },
    linears: ROLES,
    norms: ["attention-norm", "mlp-norm"],
    linearShapes: Object.fromEntries(shapes) as Record<LinearRole, LinearShape>,
    names: {
      linear: ({ layer, role }) => `model.decoder.layers.${layer}.${LINEAR_NAMES[role] ?? role}`,
      norm: (site) =>
        site.role === "final-norm"
          ? "model.decoder.final_layer_norm"
          : `model.decoder.layers.${site.layer}.${NORM_NAMES[site.role] ?? site.role}`,
      embedding: "model.decoder.embed_tokens.weight",
      head: "lm_head.weight",
      positions: "model.decoder.embed_positions.weight",
      projection: (end) => `model.decoder.project_${end}`,
    },
  };
}
