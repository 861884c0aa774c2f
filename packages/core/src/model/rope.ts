/**
 * Rotary position embeddings: the inverse frequencies of a head, with the scaling rules that config.json names.
 * Rules and field names as in transformers' `modeling_rope_utils` (default, linear, llama3, longrope).
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

const DEFAULT_THETA = 10000;

const linearFields = z.object({ factor: positiveField() });
const llama3Fields = z.object({
  factor: positiveField(),
  low_freq_factor: positiveField(),
  high_freq_factor: positiveField(),
  original_max_position_embeddings: countField(LIMITS.positions),
});

export interface RopeReading {
  /** Whether heads may be rotated in part (`partial_rotary_factor`). @default false */
  readonly partial?: boolean;
  /** Entry of `rope_parameters` where that has one for each layer type. @default all layers share it */
  readonly section?: string;
  /** Field of the base in the hub form. @default rope_theta */
  readonly base?: string;
  /** @default 10000 */
  readonly defaultBase?: number;
  /** Whether `rope_scaling` of the hub form is meant. @default true */
  readonly scaled?: boolean;
}

/**
 * Reads both forms of config.json: the hub form (`rope_theta` beside `rope_scaling` with `type` or `rope_type`) and
 * the one of transformers 5 (`rope_parameters` holding everything). Throws `input` for a rule it does not know.
 */
export function readRope(
  config: ModelConfig,
  headDim: number,
  source: string,
  {
    partial = false,
    section,
    base = "rope_theta",
    defaultBase = DEFAULT_THETA,
    scaled = true,
  }: RopeReading = {},
): RopeSpec {
  const { field, values } = scalingOf(config, section, scaled, source);
  const theta = parseConfig(
    z.object({ rope_theta: positiveField().default(defaultBase) }),
    { rope_theta: values["rope_theta"] ?? config[base] ?? undefined },
    source,
  ).rope_theta;
  const share = values["partial_rotary_factor"] ?? config["partial_rotary_factor"] ?? 1;
  const rotated = typeof share === "number" ? Math.trunc(headDim * share) : NaN;
  if (!partial && share !== 1) {
    throw inputError(
      `The config of ${source} has partial_rotary_factor = ${showValue(share)}, but this architecture rotates whole heads (1).`,
    );
  }
  if (!(rotated >= 2 && rotated <= headDim && rotated % 2 === 0)) {
    throw inputError(
      `The config of ${source} has partial_rotary_factor = ${showValue(share)}, but it must leave an even number of the ${headDim} features of a head to rotate.`,
    );
  }
  return scaleFrequencies(plainFrequencies(rotated, theta), { config, values, field, source });
}

/** The fields that say how frequencies are scaled, and where they were found. */
function scalingOf(
  config: ModelConfig,
  section: string | undefined,
  scaled: boolean,
  source: string,
): { field: string; values: Record<string, unknown> } {
  const parameters = config["rope_parameters"];
  const inParameters = isRecord(parameters);
  let field = inParameters ? "rope_parameters" : "rope_scaling";
  let found: unknown = inParameters ? parameters : scaled ? config["rope_scaling"] : undefined;
  if (inParameters && section !== undefined && isRecord(parameters[section])) {
    field = `rope_parameters.${section}`;
    found = parameters[section];
  }
  const values = found ?? {};
  if (isRecord(values)) return { field, values };
  throw inputError(
    `The config of ${source} has ${field} = ${showValue(values)}, but it must be an object or null.`,
  );
}

/** [rotated / 2] theta^(-2i / rotated) */
function plainFrequencies(rotated: number, theta: number): Float64Array {
  return Float64Array.from({ length: rotated / 2 }, (_, i) => theta ** ((-2 * i) / rotated));
}

interface Scaling {
  readonly config: ModelConfig;
  /** The entry of config.json that names the rule. */
  readonly values: Record<string, unknown>;
  /** What messages call it. */
  readonly field: string;
  readonly source: string;
}

/** A rule of config.json; `nested` reads fields of its entry. */
type Rule = (plain: Float64Array, scaling: Scaling) => RopeSpec;

const RULES: Readonly<Record<string, Rule>> = {
  default: (plain) => ({ inverseFrequencies: plain, factor: 1 }),
  linear: (plain, scaling) => {
    const { factor } = nested(scaling, linearFields);
    return { inverseFrequencies: plain.map((frequency) => frequency / factor), factor: 1 };
  },
  llama3: (plain, scaling) => ({
    inverseFrequencies: llama3Frequencies(plain, nested(scaling, llama3Fields), scaling.source),
    factor: 1,
  }),
  longrope: longRope,
};

/** Spellings of old configs. */
const OLD_NAMES: Readonly<Record<string, string>> = { su: "longrope" };

function scaleFrequencies(plain: Float64Array, scaling: Scaling): RopeSpec {
  const { values, source } = scaling;
  const named = values["rope_type"] ?? values["type"] ?? "default";
  const rule = typeof named === "string" && Object.hasOwn(OLD_NAMES, named) ? OLD_NAMES[named] : named;
  if (typeof rule === "string" && Object.hasOwn(RULES, rule)) return RULES[rule](plain, scaling);
  throw inputError(
    `The config of ${source} has the unsupported rope_type ${showValue(named)}; supported are ${Object.keys(RULES).join(", ")}.`,
  );
}

function nested<T>({ field, values, source }: Scaling, fields: z.ZodType<T>): T {
  return parseConfig(z.object({ [field]: fields }), { [field]: values }, source)[field];
}

/**
 * LongRoPE (arXiv 2402.13753) as Phi-3 has it: a divisor for every frequency, one list for texts of the original context
 * and one for longer ones, and a factor on cosines and sines that follows from how much the context grew.
 */
function longRope(plain: Float64Array, scaling: Scaling): RopeSpec {
  const { config, values, source } = scaling;
  const divisors = z
    .array(positiveField())
    .length(plain.length, { error: `a list of ${plain.length} numbers` });
  const fields = nested(
    scaling,
    z.object({
      short_factor: divisors,
      long_factor: divisors,
      attention_factor: positiveField().nullish(),
      factor: positiveField().nullish(),
    }),
  );
  const contexts = parseConfig(
    z.object({
      original_max_position_embeddings: countField(LIMITS.positions).nullish(),
      max_position_embeddings: countField(LIMITS.positions).default(2048),
    }),
    {
      max_position_embeddings: config["max_position_embeddings"],
      original_max_position_embeddings:
        config["original_max_position_embeddings"] ?? values["original_max_position_embeddings"],
    },
    source,
  );
  const context = contexts.max_position_embeddings;
  const original = contexts.original_max_position_embeddings ?? context;
  const growth =
    contexts.original_max_position_embeddings == null ? (fields.factor ?? 1) : context / original;
  // A context of one token has no logarithm to divide by.
  const grown = growth > 1 && original > 1 ? Math.sqrt(1 + Math.log(growth) / Math.log(original)) : 1;
  const divided = (by: readonly number[]): Float64Array => plain.map((frequency, i) => frequency / by[i]);
  return {
    inverseFrequencies: divided(fields.short_factor),
    factor: fields.attention_factor ?? grown,
    long: { above: original, inverseFrequencies: divided(fields.long_factor) },
  };
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
  return { ...rope, inverseFrequencies: inverseFrequencies.map((frequency, i) => frequency / factors[i]) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
