/** JSON from untrusted files: errors become one sentence, duplicate keys are refused. */
import { inputError } from "../errors.js";

/** A plain object read from JSON. */
export type JsonObject = Record<string, unknown>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Bytes as UTF-8 text; throws `input` where they are not. */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw inputError(`${what} is not UTF-8 text; the file is damaged.`, { cause });
  }
}

/** Parses a JSON object; throws `input` for anything else. A byte order mark before it is skipped. */
export function parseJsonObject(text: string, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw inputError(`${what} is not valid JSON (${reason.slice(0, 200)}).`, { cause });
  }
  if (!isJsonObject(value)) throw inputError(`${what} holds no JSON object.`);
  return value;
}

/**
 * The first key that stands twice in one object of a valid JSON text. Two readers may take different ones of the
 * two values, so that a file checked by one is not the file used by the other (CWE-436).
 */
export function findDuplicateKey(json: string): string | undefined {
  /** Keys of the open objects; `undefined` for an open array. */
  const open: (Set<string> | undefined)[] = [];
  let expectsKey = false;
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    if (char === "{") {
      open.push(new Set());
      expectsKey = true;
    } else if (char === "[") {
      open.push(undefined);
      expectsKey = false;
    } else if (char === "}" || char === "]") {
      open.pop();
      expectsKey = false;
    } else if (char === ",") {
      expectsKey = open.at(-1) !== undefined;
    } else if (char === '"') {
      const begin = i;
      for (i++; json[i] !== '"'; i++) if (json[i] === "\\") i++;
      if (!expectsKey) continue;
      const key = JSON.parse(json.slice(begin, i + 1)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
      expectsKey = false;
    }
  }
  return undefined;
}
