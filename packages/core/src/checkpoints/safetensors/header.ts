/**
 * The header of a safetensors file: 8 bytes of length, then JSON of `{name: {dtype, shape, data_offsets}}`, then the
 * tensors' bytes without gaps. Nothing in it is believed before it was checked against the file's size.
 */
import { inputError } from "../../errors.js";
import { PLAIN_DTYPE_BYTES, isPlainDtype } from "../dtypes.js";
import { decodeUtf8, findDuplicateKey, isJsonObject, parseJsonObject } from "../json.js";
import { MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_TENSORS } from "../limits.js";
import { elementCount } from "../shapes.js";
import type { ByteSource } from "../types.js";

/** Sizes of the dtypes that the format knows and that are not read, so that their extent is checked all the same. */
const OTHER_DTYPE_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  U32: 4,
  F64: 8,
  U64: 8,
};

/** Names that mean something to JavaScript objects (CWE-1321, prototype pollution). */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(["__proto__", "prototype", "constructor"]);

export interface HeaderTensor {
  readonly name: string;
  /** As written; not necessarily one that is read. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: readonly HeaderTensor[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Reads and checks the header. Throws `input` for every malformed one, before anything is allocated by its claims. */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const { name: file, sizeBytes } = source;
  if (sizeBytes < 10) throw inputError(`${file} has ${sizeBytes} bytes, too few for a safetensors file.`);
  const head = await source.read(0, 8);
  const claimed = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  if (claimed > BigInt(MAX_HEADER_BYTES)) {
    throw inputError(
      `${file} claims a header of ${claimed} bytes, where at most ${MAX_HEADER_BYTES} are accepted; it is not a safetensors file or is damaged.`,
    );
  }
  const headerBytes = Number(claimed);
  if (8 + headerBytes > sizeBytes) {
    throw inputError(
      `${file} claims a header of ${headerBytes} bytes but has only ${sizeBytes} bytes; the file is truncated or damaged, fetch it again.`,
    );
  }
  const what = `The header of ${file}`;
  const text = decodeUtf8(await source.read(8, headerBytes), what);
  if (text[0] !== "{") throw inputError(`${what} does not begin with "{"; it is not a safetensors file.`);
  const json = parseJsonObject(text, what);
  const twice = findDuplicateKey(text);
  if (twice !== undefined)
    throw inputError(`${what} lists ${JSON.stringify(twice.slice(0, 100))} twice; it is damaged.`);
  return checkHeader(json, file, 8 + headerBytes, sizeBytes);
}

function checkHeader(
  json: Record<string, unknown>,
  file: string,
  dataBegin: number,
  sizeBytes: number,
): SafetensorsHeader {
  const names = Object.keys(json).filter((name) => name !== "__metadata__");
  if (names.length > MAX_TENSORS) {
    throw inputError(`${file} lists ${names.length} tensors, where at most ${MAX_TENSORS} are accepted.`);
  }
  const tensors = names.map((name) => checkEntry(name, json[name], file, dataBegin));
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataBegin;
  for (const tensor of tensors) {
    if (tensor.offset !== end) {
      const problem = tensor.offset < end ? "overlaps the one before it" : "leaves a gap before it";
      throw inputError(
        `Tensor ${tensor.name} of ${file} ${problem} (it begins at byte ${tensor.offset}); the file is damaged.`,
      );
    }
    end += tensor.bytes;
  }
  if (end !== sizeBytes) {
    throw inputError(
      `The tensors of ${file} end at byte ${end}, but the file has ${sizeBytes} bytes; it is truncated or damaged, fetch it again.`,
    );
  }
  return { tensors, metadata: checkMetadata(json["__metadata__"], file) };
}

function checkEntry(name: string, entry: unknown, file: string, dataBegin: number): HeaderTensor {
  const shown = JSON.stringify(name.slice(0, 100));
  if (name.length === 0 || name.length > MAX_NAME_BYTES || FORBIDDEN_NAMES.has(name)) {
    throw inputError(`${file} has a tensor with the name ${shown}, which is not accepted.`);
  }
  if (!isJsonObject(entry)) throw inputError(`The entry of tensor ${shown} in ${file} is not an object.`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Array.isArray(shape) || !Array.isArray(offsets) || offsets.length !== 2) {
    throw inputError(`The entry of tensor ${shown} in ${file} lacks a dtype, a shape or two data_offsets.`);
  }
  const count = elementCount(shape);
  if (count === undefined) {
    throw inputError(
      `Tensor ${shown} of ${file} has the impossible shape ${JSON.stringify(shape).slice(0, 100)}.`,
    );
  }
  const [begin, end] = offsets as [unknown, unknown];
  if (!isOffset(begin) || !isOffset(end) || end < begin) {
    throw inputError(
      `Tensor ${shown} of ${file} has the impossible data_offsets ${JSON.stringify(offsets).slice(0, 100)}.`,
    );
  }
  const elementBytes = isPlainDtype(dtype) ? PLAIN_DTYPE_BYTES[dtype] : OTHER_DTYPE_BYTES[dtype];
  if (elementBytes !== undefined && count * elementBytes !== end - begin) {
    throw inputError(
      `Tensor ${shown} of ${file} has shape [${shape.join(", ")}] and dtype ${dtype}, which take ${count * elementBytes} bytes, but ${end - begin} are stored.`,
    );
  }
  return { name, dtype, shape: shape as number[], offset: dataBegin + begin, bytes: end - begin };
}

function isOffset(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function checkMetadata(value: unknown, file: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value) || !Object.values(value).every((entry) => typeof entry === "string")) {
    throw inputError(`__metadata__ in the header of ${file} is not an object of strings.`);
  }
  return value as Record<string, string>;
}
