/**
 * Rotary position embeddings: the inverse frequencies of a head, with the scaling rules that config.json names.
 * Rules and field names as in transformers' `modeling_rope_utils` (default, linear, llama3).
 */
import { z } from "zod";
import { inputError } from "../errors.js";
import {
  LIMITS,
  countField,
  parseConfig,
  positiveField,
  showValue,
  type ModelConfig,
} from "./config-fields.js";
import type { RopeSpec } from "./spec.js";

const SUPPORTED_RULES = ["default", "linear", "llama3"] as const;
const DEFAULT_THETA = 10000;

const linearFields = z.object({ factor: positiveField() });
const llama3Fields = z.object({
  factor: positiveField(),
  low_freq_factor: positiveField(),
  high_freq_factor: positiveField(),
  original_max_position_embeddings: countField(LIMITS.positions),
});

/**
 * Reads both forms of config.json: the hub form (`rope_theta` beside `rope_scaling` with `type` or `rope_type`) and
 * the one of transformers 5 (`rope_parameters` holding everything). Throws `input` for a rule it does not know.
 */
export function readRope(config: ModelConfig, headDim: number, source: string): RopeSpec {
  const scalingField = isRecord(config["rope_parameters"]) ? "rope_parameters" : "rope_scaling";
  const scaling = config[scalingField] ?? {};
  if (!isRecord(scaling)) {
    throw inputError(
      `The config of ${source} has ${scalingField} = ${showValue(scaling)}, but it must be an object or null.`,
    );
  }
  const theta = parseConfig(
    z.object({ rope_theta: positiveField().default(DEFAULT_THETA) }),
    { rope_theta: scaling["rope_theta"] ?? config["rope_theta"] ?? undefined },
    source,
  ).rope_theta;
  const partial = scaling["partial_rotary_factor"] ?? config["partial_rotary_factor"] ?? 1;
  if (partial !== 1) {
    throw inputError(
      `The config of ${source} has partial_rotary_factor = ${showValue(partial)}, but this architecture rotates whole heads (1).`,
    );
  }
  const plain = plainFrequencies(headDim, theta);
  return { inverseFrequencies: scaleFrequencies(plain, scaling, scalingField, source) };
}

/** [headDim / 2] theta^(-2i / headDim) */
function plainFrequencies(headDim: number, theta: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
}

function scaleFrequencies(
  plain: Float64Array,
  scaling: Record<string, unknown>,
  scalingField: string,
  source: string,
): Float64Array {
  const rule = scaling["rope_type"] ?? scaling["type"] ?? "default";
  const nested = <T>(fields: z.ZodType<T>): T =>
    parseConfig(z.object({ [scalingField]: fields }), { [scalingField]: scaling }, source)[scalingField];
  if (rule === "default") return plain;
  if (rule === "linear") {
    const { factor } = nested(linearFields);
    return plain.map((frequency) => frequency / factor);
  }
  if (rule === "llama3") return llama3Frequencies(plain, nested(llama3Fields), source);
  throw inputError(
    `The config of ${source} has the unsupported rope_type ${showValue(rule)}; supported are ${SUPPORTED_RULES.join(", ")}.`,
  );
}

/** Long wavelengths are stretched by `factor`, short ones left alone, those between blended (Llama 3.1). */
function llama3Frequencies(
  plain: Float64Array,
  fields: z.infer<typeof llama3Fields>,
  source: string,
): Float64Array {
  const { factor, low_freq_factor: low, high_freq_factor: high } = fields;
  const context = fields.original_max_position_embeddings;
  if (high <= low) {
    throw inputError(
      `The config of ${source} has high_freq_factor = ${high}, but it must be above low_freq_factor = ${low}.`,
    );
  }
  return plain.map((frequency) => {
    const turns = (context * frequency) / (2 * Math.PI);
    if (turns < low) return frequency / factor;
    if (turns > high) return frequency;
    const smooth = (turns - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

/** GGUF's `rope_freqs.weight` [headDim / 2] divides the inverse frequencies. */
export function divideFrequencies(rope: RopeSpec, factors: Float32Array, source: string): RopeSpec {
  const { inverseFrequencies } = rope;
  if (factors.length !== inverseFrequencies.length) {
    throw inputError(
      `rope_freqs.weight of ${source} has ${factors.length} values, but the head dimension asks for ${inverseFrequencies.length}.`,
    );
  }
  factors.forEach((factor, i) => {
    if (!Number.isFinite(factor) || factor <= 0) {
      throw inputError(
        `rope_freqs.weight of ${source} holds ${factor} at position ${i}, but every factor must be above 0.`,
      );
    }
  });
  return { inverseFrequencies: inverseFrequencies.map((frequency, i) => frequency / factors[i]) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
