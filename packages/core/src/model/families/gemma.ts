/**
 * Gemma 2 and the text model of Gemma 3. Norms stand before and after both branches and multiply by 1 + weight, the
 * embedding is scaled by the root of its size, layers take turns between a window and the whole text. Gemma 2 bounds scores
 * and logits by a soft cap; Gemma 3 norms queries and keys instead and rotates windowed layers by another base.
 */
import { z } from "zod";
import {
  LIMITS,
  booleanField,
  countField,
  parseConfig,
  positiveField,
  wordField,
  type ModelConfig,
} from "../config-fields.js";
import { slidingLayers, type LayerKinds } from "../layer-kinds.js";
import { readRope } from "../rope.js";
import type { ModelSpec, NormRole } from "../spec.js";
import {
  ACTIVATIONS,
  HEAD_NORMS,
  biasesByField,
  llamaLikeSpec,
  readCommon,
  refuseOther,
  type CommonFields,
} from "./llama-like.js";

/** Where config.json does not say. */
const HEAD_DIM = 256;
const WINDOW = 4096;
/** Of Gemma 3: every sixth layer sees all. */
const PATTERN = 6;

const ownFields = z.object({
  hidden_activation: wordField(ACTIVATIONS).nullish(),
  query_pre_attn_scalar: positiveField().default(HEAD_DIM),
  sliding_window: countField(LIMITS.positions).nullish(),
  attn_logit_softcapping: positiveField().nullish(),
  final_logit_softcapping: positiveField().nullish(),
  use_bidirectional_attention: booleanField().nullish(),
});
type OwnFields = z.infer<typeof ownFields>;

const OUTER_NORMS = {
  "attention-out-norm": "post_attention_layernorm",
  "mlp-norm": "pre_feedforward_layernorm",
  "mlp-out-norm": "post_feedforward_layernorm",
} as const satisfies Partial<Record<NormRole, string>>;

/** Throws `input` naming the field when the config is malformed, out of bounds or asks for what is not supported. */
export function gemma2Spec(config: ModelConfig, source: string): ModelSpec {
  const { common, own } = readGemma(config, source);
  const rope = readRope(config, common.headDim, source);
  const window = windowRule(common, own, (layer) => layer % 2 === 0);
  const layers = slidingLayers(config, window, { local: rope, global: rope }, source);
  const normNames = { "attention-norm": "input_layernorm", ...OUTER_NORMS };
  return gemmaSpec("gemma2", config, source, common, own, layers, normNames);
}

const patternFields = z.object({
  sliding_window_pattern: countField(LIMITS.layers).nullish(),
  _sliding_window_pattern: countField(LIMITS.layers).nullish(),
});

/** As `gemma2Spec`. */
export function gemma3TextSpec(config: ModelConfig, source: string): ModelSpec {
  const { common, own } = readGemma(config, source);
  const ropes = {
    local: readRope(config, common.headDim, source, {
      section: "sliding_attention",
      base: "rope_local_base_freq",
      defaultBase: 1e4,
      scaled: false,
    }),
    global: readRope(config, common.headDim, source, { section: "full_attention", defaultBase: 1e6 }),
  };
  const fields = parseConfig(patternFields, config, source);
  const pattern = fields.sliding_window_pattern ?? fields._sliding_window_pattern ?? PATTERN;
  const window = windowRule(common, own, (layer) => (layer + 1) % pattern !== 0);
  const layers = slidingLayers(config, window, ropes, source);
  const normNames = { "attention-norm": "input_layernorm", ...HEAD_NORMS, ...OUTER_NORMS };
  return gemmaSpec("gemma3_text", config, source, common, own, layers, normNames);
}

function readGemma(config: ModelConfig, source: string): { common: CommonFields; own: OwnFields } {
  const common = readCommon(config, source, { headDim: HEAD_DIM, tiedHead: true });
  refuseOther(config, "use_bidirectional_attention", false, source);
  refuseOther(config, "mlp_bias", false, source);
  return { common, own: parseConfig(ownFields, config, source) };
}

function windowRule(common: CommonFields, own: OwnFields, slides: (layer: number) => boolean) {
  const { layers, maxPositions } = common;
  return { layers, maxPositions, slides, window: own.sliding_window ?? WINDOW };
}

function gemmaSpec(
  family: string,
  config: ModelConfig,
  source: string,
  common: CommonFields,
  own: OwnFields,
  layers: LayerKinds,
  normNames: Readonly<Partial<Record<NormRole, string>>>,
): ModelSpec {
  return llamaLikeSpec(common, {
    family,
    activation: own.hidden_activation ?? "gelu-tanh",
    layers,
    bias: biasesByField(config, source),
    normNames,
    normPlacement: "around",
    weightOffset: 1,
    attentionScale: own.query_pre_attn_scalar ** -0.5,
    attentionSoftcap: own.attn_logit_softcapping ?? undefined,
    logitSoftcap: own.final_logit_softcapping ?? undefined,
    embeddingScale: Math.sqrt(common.hiddenSize),
  });
}
