/**
 * A first walk over a GGUF header, before the parser sees it. Every count and length is compared with the bytes that
 * are left, so that a hostile file costs no memory and no time.
 *
 * The parser we use (@huggingface/gguf) reads a header in steps of 2 MB, begins the value that a step cuts again from
 * its start, and does not notice when the cut goes through its last string. So the walk takes lists of strings and
 * long strings out: the parser gets a header in which they are empty, which is short, and quick to parse.
 *
 * Source: the GGUF specification (ggml/docs/gguf.md), versions 1 to 3.
 */
import { inputError } from "../../errors.js";
import {
  MAX_DIMENSIONS,
  MAX_GGUF_ALIGNMENT,
  MAX_GGUF_ARRAY_LENGTH,
  MAX_GGUF_HEADER_BYTES,
  MAX_GGUF_KEYS,
  MAX_GGUF_KEY_BYTES,
  MAX_GGUF_PARSED_BYTES,
  MAX_GGUF_STRING_BYTES,
  MAX_NAME_BYTES,
  MAX_TENSORS,
} from "../limits.js";
import type { ByteSource } from "../types.js";
import { HeaderCursor } from "./header-cursor.js";

const MAGIC = 0x46554747; // "GGUF", little-endian
const UINT32 = 4;
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

/** Strings longer than this are taken out; the parser is sure to hold a key and a value of this size. */
const LONG_STRING_BYTES = 0xffff;

export interface HeaderWalk {
  /** The header with every taken value empty. */
  readonly short: Uint8Array;
  /** Values taken out, by key. */
  readonly taken: ReadonlyMap<string, string | string[]>;
  readonly alignment: number;
  /** Bytes of the header as it is in the file, padding not included. */
  readonly headerBytes: number;
}

/** A range of the header that is left out of the short one, where a zero length stands for it. */
interface Cut {
  readonly begin: number;
  readonly end: number;
}

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
      `${source.name} has ${bigEndian ? "the GGUF version of a big-endian file" : `GGUF version ${version}`}; little-endian versions 1 to 3 are read.`,
    );
  }
  cursor.sizeBytes = version === 1 ? 4 : 8;
  const tensorCount = await cursor.size();
  const keyCount = await cursor.size();
  // The smallest key takes a length, a type and one byte; the smallest tensor a length, a count, a type and an offset.
  cursor.requireCount(keyCount, cursor.sizeBytes + 5, MAX_GGUF_KEYS, "metadata keys");
  cursor.requireCount(tensorCount, cursor.sizeBytes + 16, MAX_TENSORS, "tensors");

  const keys = new Set<string>();
  const taken = new Map<string, string | string[]>();
  const cuts: Cut[] = [];
  let alignment = 32;
  for (let i = 0; i < keyCount; i++) {
    const key = await cursor.text(MAX_GGUF_KEY_BYTES, "a metadata key");
    const shown = JSON.stringify(key.slice(0, 100));
    if (keys.has(key)) throw inputError(`${source.name} has the metadata key ${shown} twice.`);
    keys.add(key);
    const type = await cursor.u32();
    if (key === "general.alignment") {
      alignment = checkAlignment(type === UINT32 ? await cursor.peekU32() : -1, source.name);
    }
    const value = await walkValue(cursor, type, shown);
    if (value !== undefined) {
      taken.set(key, value.value);
      cuts.push({ begin: value.begin, end: cursor.offset });
    }
  }
  for (let i = 0; i < tensorCount; i++) await walkTensorInfo(cursor);
  const headerBytes = cursor.offset;
  return { short: await shorten(source, headerBytes, cuts, cursor.sizeBytes), taken, alignment, headerBytes };
}

/** Moves behind a value. Gives it, and where its length begins, where it is to be taken out. */
async function walkValue(
  cursor: HeaderCursor,
  type: number,
  key: string,
): Promise<{ begin: number; value: string | string[] } | undefined> {
  const what = `the value of ${key}`;
  const begin = cursor.offset;
  if (type === STRING) {
    const length = await cursor.size();
    cursor.requireLength(length, MAX_GGUF_STRING_BYTES, what);
    if (length <= LONG_STRING_BYTES) {
      cursor.skip(length);
      return undefined;
    }
    cursor.offset = begin;
    return { begin, value: await cursor.text(MAX_GGUF_STRING_BYTES, what) };
  }
  if (type !== ARRAY) {
    cursor.skip(requireKnown(VALUE_BYTES.get(type), type, cursor.name, key));
    return undefined;
  }
  const elementType = await cursor.u32();
  const texts = elementType === STRING;
  const known = texts ? cursor.sizeBytes : VALUE_BYTES.get(elementType);
  const elementBytes = requireKnown(known, elementType, cursor.name, key);
  const countBegin = cursor.offset;
  const count = await cursor.size();
  cursor.requireCount(count, elementBytes, MAX_GGUF_ARRAY_LENGTH, `elements of ${key}`);
  if (texts) return { begin: countBegin, value: await cursor.texts(count, MAX_GGUF_STRING_BYTES, what) };
  cursor.skip(count * elementBytes);
  return undefined;
}

async function walkTensorInfo(cursor: HeaderCursor): Promise<void> {
  const length = await cursor.size();
  cursor.requireLength(length, MAX_NAME_BYTES, "a tensor name");
  cursor.skip(length);
  const dimensions = await cursor.u32();
  if (dimensions > MAX_DIMENSIONS) {
    throw inputError(
      `${cursor.name} has a tensor of ${dimensions} dimensions, where at most ${MAX_DIMENSIONS} are accepted.`,
    );
  }
  cursor.skip(dimensions * cursor.sizeBytes + 12);
}

async function shorten(
  source: ByteSource,
  headerBytes: number,
  cuts: readonly Cut[],
  sizeBytes: number,
): Promise<Uint8Array> {
  const removed = cuts.reduce((sum, { begin, end }) => sum + end - begin - sizeBytes, 0);
  if (headerBytes - removed > MAX_GGUF_PARSED_BYTES) {
    throw inputError(
      `The header of ${source.name} has ${headerBytes - removed} bytes besides texts, where at most ${MAX_GGUF_PARSED_BYTES} are accepted.`,
    );
  }
  const short = new Uint8Array(headerBytes - removed);
  let to = 0;
  let from = 0;
  for (const { begin, end } of [...cuts, { begin: headerBytes, end: headerBytes }]) {
    short.set(await source.read(from, begin - from), to);
    to += begin - from + sizeBytes; // the length left behind is zero
    from = end;
  }
  return short;
}

function requireKnown(bytes: number | undefined, type: number, file: string, key: string): number {
  if (bytes !== undefined) return bytes;
  throw inputError(
    `${file} has the metadata key ${key} of type ${type}, which is not read; the file is damaged.`,
  );
}

function checkAlignment(value: number, file: string): number {
  if (value >= 1 && value <= MAX_GGUF_ALIGNMENT && (value & (value - 1)) === 0) return value;
  throw inputError(`general.alignment of ${file} is not a 32-bit power of two up to ${MAX_GGUF_ALIGNMENT}.`);
}
