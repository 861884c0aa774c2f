/**
 * Reading config.json: zod schemas with sane upper bounds, and messages that name the field and what was found.
 * A config is untrusted input: every number that later sizes an array passes through here.
 */
import { z } from "zod";
import { inputError } from "../errors.js";

export type ModelConfig = Readonly<Record<string, unknown>>;

/** Upper bounds well above any published model, low enough that products of two of them stay exact integers. */
export const LIMITS = {
  layers: 1024,
  heads: 4096,
  headDim: 4096,
  hiddenSize: 2 ** 20,
  intermediateSize: 2 ** 22,
  vocabSize: 2 ** 23,
  positions: 2 ** 27,
} as const;

/** An integer from 1 to `max`. */
export function countField(max: number): z.ZodNumber {
  const message = `an integer from 1 to ${max}`;
  return z
    .number({ error: message })
    .int({ error: message })
    .min(1, { error: message })
    .max(max, { error: message });
}

/** A finite number above zero. */
export function positiveField(max = 1e12): z.ZodNumber {
  const message = `a number above 0 and at most ${max}`;
  return z.number({ error: message }).gt(0, { error: message }).max(max, { error: message });
}

export function booleanField(): z.ZodBoolean {
  return z.boolean({ error: "true or false" });
}

/** One of the listed words; `words` maps the spelling in the file to ours. */
export function wordField<T extends string>(words: Readonly<Record<string, T>>): z.ZodType<T> {
  const message = `one of ${Object.keys(words).join(", ")}`;
  return z
    .string({ error: message })
    .refine((word) => Object.hasOwn(words, word), { error: message })
    .transform((word) => words[word]);
}

/** A value as a message shows it: JSON, cut short. */
export function showValue(value: unknown): string {
  if (value === undefined) return "missing";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Parses `config` by `schema`; the first failing field becomes an `input` error naming field, value and what it must be. */
export function parseConfig<T>(schema: z.ZodType<T>, config: ModelConfig, source: string): T {
  const result = schema.safeParse(config);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  let found: unknown = config;
  for (const key of issue.path) {
    found =
      typeof found === "object" && found !== null ? (found as Record<PropertyKey, unknown>)[key] : undefined;
  }
  const field = issue.path.map(String).join(".");
  throw inputError(
    `The config of ${source} has ${field} ${found === undefined ? "missing" : `= ${showValue(found)}`}, but it must be ${issue.message}.`,
  );
}
