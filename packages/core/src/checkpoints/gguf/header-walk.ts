/**
 * A first walk over a GGUF header, before the parser sees it: every count and length is compared with the bytes that
 * are left, so that a hostile file costs no memory and no time. The parser we use (@huggingface/gguf) reads in steps
 * of 2 MB and does not notice when a string is cut off at the end of a step; the walk notes those strings.
 *
 * Source: the GGUF specification (ggml/docs/gguf.md), versions 1 to 3.
 */
import { inputError } from "../../errors.js";
import {
  MAX_GGUF_ALIGNMENT,
  MAX_GGUF_ARRAY_LENGTH,
  MAX_GGUF_HEADER_BYTES,
  MAX_GGUF_KEYS,
  MAX_GGUF_KEY_BYTES,
  MAX_GGUF_STRING_BYTES,
  MAX_DIMENSIONS,
  MAX_NAME_BYTES,
  MAX_TENSORS,
} from "../limits.js";
import type { ByteSource } from "../types.js";
import { HeaderCursor } from "./header-cursor.js";

/** The parser's step (its HTTP_CHUNK_SIZE). */
export const PARSER_STEP_BYTES = 2_000_000;

const STRING = 8;
const ARRAY = 9;
/** Bytes of the fixed-size value types, by id. */
const VALUE_BYTES: ReadonlyMap<number, number> = new Map([
  [0, 1],
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 4],
  [5, 4],
  [6, 4],
  [7, 1],
  [10, 8],
  [11, 8],
  [12, 8],
]);

/** A string that the parser may have cut off: the value of a key, or the last element of the key's array. */
export interface CutString {
  readonly key: string;
  readonly offset: number;
  readonly length: number;
}

export interface HeaderWalk {
  readonly cutStrings: readonly CutString[];
  readonly alignment: number;
  /** Bytes up to the end of the tensor infos, padding not included. */
  readonly headerBytes: number;
}

const MAGIC = 0x46554747; // "GGUF", little-endian

/** Walks the header. Throws `input` for every file whose header is malformed or asks for more than it holds. */
export async function walkGgufHeader(source: ByteSource): Promise<HeaderWalk> {
  const cursor = new HeaderCursor(source, MAX_GGUF_HEADER_BYTES);
  if (source.sizeBytes < 24 || (await cursor.u32()) !== MAGIC) {
    throw inputError(`${source.name} is not a GGUF file: it does not begin with "GGUF".`);
  }
  const version = await cursor.u32();
  if (version !== 1 && version !== 2 && version !== 3) {
    const bigEndian = (version & 0xffff) === 0 && version !== 0;
    throw inputError(
      `${source.name} has GGUF version ${bigEndian ? "of a big-endian file" : version}; little-endian versions 1 to 3 are read.`,
    );
  }
  const size = version === 1 ? () => cursor.u32() : () => cursor.u64();
  const sizeBytes = version === 1 ? 4 : 8;
  const tensorCount = await size();
  const keyCount = await size();
  // The smallest key takes a length, a type and one byte; the smallest tensor a length, a count, a type and an offset.
  cursor.requireCount(keyCount, sizeBytes + 5, MAX_GGUF_KEYS, "metadata keys");
  cursor.requireCount(tensorCount, sizeBytes + 16, MAX_TENSORS, "tensors");

  const keys = new Set<string>();
  const cutStrings: CutString[] = [];
  let alignment = 32;
  for (let i = 0; i < keyCount; i++) {
    const key = await cursor.text(await size(), MAX_GGUF_KEY_BYTES, "a metadata key");
    if (keys.has(key))
      throw inputError(`${source.name} has the metadata key ${JSON.stringify(key.slice(0, 100))} twice.`);
    keys.add(key);
    const type = await cursor.u32();
    if (key === "general.alignment")
      alignment = checkAlignment(type === 4 ? await cursor.peekU32() : -1, source.name);
    const last = await skipValue(cursor, type, size, sizeBytes, key);
    if (
      last &&
      Math.floor(last.offset / PARSER_STEP_BYTES) !==
        Math.floor((last.offset + last.length) / PARSER_STEP_BYTES)
    ) {
      cutStrings.push({ key, ...last });
    }
  }
  for (let i = 0; i < tensorCount; i++) {
    cursor.skip(cursor.lengthOf(await size(), MAX_NAME_BYTES, "a tensor name"));
    const dimensions = await cursor.u32();
    if (dimensions > MAX_DIMENSIONS) {
      throw inputError(
        `${source.name} has a tensor of ${dimensions} dimensions, where at most ${MAX_DIMENSIONS} are accepted.`,
      );
    }
    cursor.skip(dimensions * sizeBytes + 12);
  }
  cursor.requireInside();
  return { cutStrings, alignment, headerBytes: cursor.offset };
}

/** Moves behind a value; the place of its last string, if it has one. */
async function skipValue(
  cursor: HeaderCursor,
  type: number,
  size: () => Promise<number>,
  sizeBytes: number,
  key: string,
): Promise<{ offset: number; length: number } | undefined> {
  const what = `the value of ${key.slice(0, 100)}`;
  const skipString = async (): Promise<{ offset: number; length: number }> => {
    const length = cursor.lengthOf(await size(), MAX_GGUF_STRING_BYTES, what);
    const { offset } = cursor;
    cursor.skip(length);
    return { offset, length };
  };
  if (type === STRING) return skipString();
  if (type !== ARRAY) {
    cursor.skip(requireKnown(VALUE_BYTES.get(type), type, cursor.name, key));
    return undefined;
  }
  const elementType = await cursor.u32();
  const elementBytes = elementType === STRING ? sizeBytes : VALUE_BYTES.get(elementType);
  const count = await size();
  cursor.requireCount(
    count,
    requireKnown(elementBytes, elementType, cursor.name, key),
    MAX_GGUF_ARRAY_LENGTH,
    `elements of ${key.slice(0, 100)}`,
  );
  if (elementType !== STRING) {
    cursor.skip(count * elementBytes!);
    return undefined;
  }
  let last: { offset: number; length: number } | undefined;
  for (let i = 0; i < count; i++) last = await skipString();
  return last;
}

function requireKnown(bytes: number | undefined, type: number, file: string, key: string): number {
  if (bytes !== undefined) return bytes;
  throw inputError(
    `${file} has the metadata key ${JSON.stringify(key.slice(0, 100))} of type ${type}, which is not read; the file is damaged.`,
  );
}

function checkAlignment(value: number, file: string): number {
  if (value >= 1 && value <= MAX_GGUF_ALIGNMENT && (value & (value - 1)) === 0) return value;
  throw inputError(`general.alignment of ${file} is not a 32-bit power of two up to ${MAX_GGUF_ALIGNMENT}.`);
}
