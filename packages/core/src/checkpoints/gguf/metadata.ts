/** Typed look-ups in GGUF metadata; a value of the wrong kind is an `input` error that names its key. */
import { inputError } from "../../errors.js";
import type { Metadata, MetadataValue } from "./parse.js";

function wrong(key: string, kind: string, value: MetadataValue): never {
  const found = Array.isArray(value) ? `a list of ${value.length}` : String(value).slice(0, 50);
  throw inputError(`The GGUF metadata key ${key} should be ${kind}, but is ${found}.`);
}

export function findNumber(metadata: Metadata, key: string): number | undefined {
  const value = metadata.get(key);
  if (value === undefined) return undefined;
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "number" || !Number.isFinite(value)) wrong(key, "a number", value);
  return shortestF32(value);
}

/** A count; where a list has one per layer, all must be equal. */
export function findCount(metadata: Metadata, key: string): number | undefined {
  const value = metadata.get(key);
  if (Array.isArray(value)) {
    const [first] = value;
    if (first === undefined || !value.every((entry) => entry === first))
      wrong(key, "one number for all layers", value);
    return findCount(new Map([[key, first]]), key);
  }
  const count = findNumber(metadata, key);
  if (count !== undefined && (!Number.isSafeInteger(count) || count < 0)) wrong(key, "a count", count);
  return count;
}

export function requireCount(metadata: Metadata, key: string): number {
  return findCount(metadata, key) ?? missing(key);
}

export function requireNumber(metadata: Metadata, key: string): number {
  return findNumber(metadata, key) ?? missing(key);
}

function missing(key: string): never {
  throw inputError(`The GGUF file lacks the metadata key ${key}, without which it is no model.`);
}

export function findText(metadata: Metadata, key: string): string | undefined {
  const value = metadata.get(key);
  if (value !== undefined && typeof value !== "string") wrong(key, "text", value);
  return value;
}

export function findBoolean(metadata: Metadata, key: string): boolean | undefined {
  const value = metadata.get(key);
  if (value !== undefined && typeof value !== "boolean") wrong(key, "true or false", value);
  return value;
}

export function findTexts(metadata: Metadata, key: string): readonly string[] | undefined {
  const value = metadata.get(key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === "string"))
    wrong(key, "a list of texts", value);
  return value as string[];
}

export function findNumbers(metadata: Metadata, key: string): readonly number[] | undefined {
  const value = metadata.get(key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === "number"))
    wrong(key, "a list of numbers", value);
  return value as number[];
}

/** Metadata holds 32-bit floats: the shortest decimal that is the same one, so that 9.99999974e-6 reads 1e-5 again. */
export function shortestF32(value: number): number {
  if (Number.isInteger(value) || Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
