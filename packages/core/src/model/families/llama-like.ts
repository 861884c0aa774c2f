/**
 * What the decoders that descend from Llama have in common: RMS norms, rotary positions, grouped-query attention, a gated
 * MLP, and the names of their tensors. A family says how it departs from that.
 */
import { z } from "zod";
import { inputError } from "../../errors.js";
import {
  LIMITS,
  booleanField,
  countField,
  parseConfig,
  positiveField,
  showValue,
  type ModelConfig,
} from "../config-fields.js";
import type { LayerKinds } from "../layer-kinds.js";
import {
  LINEAR_ROLES,
  type Activation,
  type EndsSpec,
  type LinearRole,
  type LinearShape,
  type ModelSpec,
  type NormPlacement,
  type NormRole,
  type TensorNames,
} from "../spec.js";

/** Spellings of activations in transformers and what they mean. */
export const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
  relu: "relu",
};

const commonFields = z.object({
  vocab_size: countField(LIMITS.vocabSize),
  hidden_size: countField(LIMITS.hiddenSize),
  intermediate_size: countField(LIMITS.intermediateSize),
  num_hidden_layers: countField(LIMITS.layers),
  num_attention_heads: countField(LIMITS.heads),
  num_key_value_heads: countField(LIMITS.heads).nullish(),
  head_dim: countField(LIMITS.headDim).nullish(),
  max_position_embeddings: countField(LIMITS.positions).default(2048),
  rms_norm_eps: positiveField(1).default(1e-6),
  tie_word_embeddings: booleanField().optional(),
});

/** Sizes that every family reads in the same way. */
export interface CommonFields {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly maxPositions: number;
  readonly eps: number;
  readonly tiedHead: boolean;
}

export interface CommonDefaults {
  /** Where config.json has no `head_dim`. @default hidden_size / num_attention_heads */
  readonly headDim?: number;
  /** @default false */
  readonly tiedHead?: boolean;
}

/** Throws `input` naming the field when one is malformed, out of bounds or at odds with another. */
export function readCommon(config: ModelConfig, source: string, defaults: CommonDefaults = {}): CommonFields {
  const fields = parseConfig(commonFields, config, source);
  const { hidden_size: hidden, num_attention_heads: heads } = fields;
  const kvHeads = fields.num_key_value_heads ?? heads;
  const own = fields.head_dim ?? defaults.headDim;
  const headDim = own ?? hidden / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw inputError(
      own === undefined
        ? `The config of ${source} has hidden_size = ${hidden} and num_attention_heads = ${heads}, which gives the head dimension ${headDim}, but it must be an even integer.`
        : `The config of ${source} has head_dim = ${headDim}, but it must be even.`,
    );
  }
  if (heads % kvHeads !== 0) {
    throw inputError(
      `The config of ${source} has num_attention_heads = ${heads}, which is no multiple of num_key_value_heads = ${kvHeads}.`,
    );
  }
  return {
    vocabSize: fields.vocab_size,
    hiddenSize: hidden,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    maxPositions: fields.max_position_embeddings,
    eps: fields.rms_norm_eps,
    tiedHead: fields.tie_word_embeddings ?? defaults.tiedHead ?? false,
  };
}

/** Refuses a config whose field has another value than the one that is implemented (absent and null are fine). */
export function refuseOther(config: ModelConfig, field: string, only: unknown, source: string): void {
  const found = config[field];
  if (found === undefined || found === null || found === only) return;
  throw inputError(
    `The config of ${source} has ${field} = ${showValue(found)}, which is not supported; only ${showValue(only)} is.`,
  );
}

export interface LlamaLike {
  readonly family: string;
  readonly activation: Activation;
  readonly layers: LayerKinds;
  /** Which linears have a bias, and the config field that says so, where one does. */
  readonly bias: (role: LinearRole) => Pick<LinearShape, "bias" | "biasField">;
  /** Names of the block's norms, without the layer; which roles there are follows from them. */
  readonly normNames: Readonly<Partial<Record<NormRole, string>>>;
  /** @default "before" */
  readonly normPlacement?: NormPlacement;
  /** @default 0 */
  readonly weightOffset?: number;
  /** Multiplies q k^T. @default 1 / sqrt(headDim) */
  readonly attentionScale?: number;
  readonly attentionSoftcap?: number | undefined;
  readonly logitSoftcap?: number | undefined;
  /** @default 1 */
  readonly embeddingScale?: number;
  readonly fused?: TensorNames["fused"];
}

const LINEAR_NAMES: Readonly<Record<LinearRole, string>> = {
  q: "self_attn.q_proj",
  k: "self_attn.k_proj",
  v: "self_attn.v_proj",
  o: "self_attn.o_proj",
  gate: "mlp.gate_proj",
  up: "mlp.up_proj",
  down: "mlp.down_proj",
};

/** Name of a block's linear; no `.weight`. */
export function llamaLinearName(layer: number, role: LinearRole): string {
  return `model.layers.${layer}.${LINEAR_NAMES[role]}`;
}

/** The norms of a Llama block. */
export const LLAMA_NORMS = {
  "attention-norm": "input_layernorm",
  "mlp-norm": "post_attention_layernorm",
} as const satisfies Partial<Record<NormRole, string>>;

/** Norms of every head of queries and keys. */
export const HEAD_NORMS = {
  "q-norm": "self_attn.q_norm",
  "k-norm": "self_attn.k_norm",
} as const satisfies Partial<Record<NormRole, string>>;

/** The biases of a family that has them as two config fields say, of attention and of the MLP. */
export function biasesByField(config: ModelConfig, source: string): LlamaLike["bias"] {
  const fields = parseConfig(
    z.object({ attention_bias: booleanField().default(false), mlp_bias: booleanField().default(false) }),
    config,
    source,
  );
  return (role) => {
    const biasField = ["gate", "up", "down"].includes(role) ? "mlp_bias" : "attention_bias";
    return { bias: fields[biasField], biasField };
  };
}

/** The spec of such a model. */
export function llamaLikeSpec(common: CommonFields, own: LlamaLike): ModelSpec {
  const { hiddenSize: hidden, intermediateSize: intermediate, heads, kvHeads, headDim } = common;
  const sizes: Readonly<Record<LinearRole, readonly [rows: number, cols: number]>> = {
    q: [heads * headDim, hidden],
    k: [kvHeads * headDim, hidden],
    v: [kvHeads * headDim, hidden],
    o: [hidden, heads * headDim],
    gate: [intermediate, hidden],
    up: [intermediate, hidden],
    down: [hidden, intermediate],
  };
  const shapes = LINEAR_ROLES.map((role) => {
    const [rows, cols] = sizes[role];
    return [role, { rows, cols, ...own.bias(role) }] as const;
  });
  const norms = Object.keys(own.normNames) as NormRole[];
  const ends: EndsSpec = {
    embeddingSize: hidden,
    embeddingScale: own.embeddingScale ?? 1,
    projected: false,
    finalNorm: true,
    ...(own.logitSoftcap !== undefined && { logitSoftcap: own.logitSoftcap }),
  };
  return {
    family: own.family,
    vocabSize: common.vocabSize,
    hiddenSize: hidden,
    layers: common.layers,
    maxPositions: common.maxPositions,
    tiedHead: common.tiedHead,
    norm: { kind: "rms", eps: common.eps, weightOffset: own.weightOffset ?? 0 },
    normPlacement: own.normPlacement ?? "before",
    attention: {
      heads,
      kvHeads,
      headDim,
      scale: own.attentionScale ?? 1 / Math.sqrt(headDim),
      ...(own.attentionSoftcap !== undefined && { softcap: own.attentionSoftcap }),
    },
    ...own.layers,
    mlp: { kind: "gated", activation: own.activation, intermediateSize: intermediate },
    ends,
    linears: LINEAR_ROLES,
    norms,
    linearShapes: Object.fromEntries(shapes) as Record<LinearRole, LinearShape>,
    names: {
      linear: ({ layer, role }) => llamaLinearName(layer, role),
      norm: (site) =>
        site.role === "final-norm"
          ? "model.norm"
          : `model.layers.${site.layer}.${own.normNames[site.role] ?? site.role}`,
      embedding: "model.embed_tokens.weight",
      head: "lm_head.weight",
      ...(own.fused && { fused: own.fused }),
    },
  };
}
