/**
 * Writing safetensors. The header is computed from the infos alone, so that the data can be streamed after it.
 * Same tensors in the same order = same bytes.
 */
import { SubbitError } from "../../errors.js";
import { asBytes } from "../../tensors/bytes.js";
import { PLAIN_DTYPE_BYTES, type PlainDtype } from "../dtypes.js";
import { elementCount } from "../shapes.js";

/** A tensor to write: what it is, without its data. */
export interface TensorDeclaration {
  readonly name: string;
  readonly dtype: PlainDtype;
  /** Row-major, slowest dimension first. */
  readonly shape: readonly number[];
}

/** A tensor to write. A function is called when its turn comes, so that no more than one tensor is held. */
export interface TensorToWrite extends TensorDeclaration {
  /** Little-endian elements, row-major. */
  readonly data: Uint8Array | (() => Promise<Uint8Array>);
}

export interface SafetensorsMetadata {
  /** `__metadata__` of the header. @default none */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Bytes that the tensor's data must have. Throws `usage` for an impossible shape. */
export function declaredBytes(tensor: TensorDeclaration): number {
  const count = elementCount(tensor.shape);
  if (count === undefined) {
    throw new SubbitError(
      "usage",
      `Tensor ${tensor.name} cannot be written with shape [${tensor.shape.join(", ")}].`,
    );
  }
  return count * PLAIN_DTYPE_BYTES[tensor.dtype];
}

/**
 * The order of tensors in a file: wide elements first, else as given. There are no gaps between tensors, so this is
 * what puts every tensor at a multiple of its element size, which torch needs to map it.
 */
export function inFileOrder<T extends TensorDeclaration>(tensors: readonly T[]): T[] {
  return [...tensors].sort((a, b) => PLAIN_DTYPE_BYTES[b.dtype] - PLAIN_DTYPE_BYTES[a.dtype]);
}

/** Length and JSON, padded with spaces to a multiple of 8 bytes. `tensors` are in file order. */
export function encodeSafetensorsHeader(
  tensors: readonly TensorDeclaration[],
  options: SafetensorsMetadata = {},
): Uint8Array {
  const entries: [string, unknown][] = options.metadata ? [["__metadata__", options.metadata]] : [];
  const names = new Set<string>(["__metadata__", "__proto__", "prototype", "constructor", ""]);
  let begin = 0;
  for (const tensor of tensors) {
    if (names.has(tensor.name)) {
      throw new SubbitError(
        "usage",
        `A tensor cannot be written under the name ${JSON.stringify(tensor.name)}: it is taken or reserved.`,
      );
    }
    names.add(tensor.name);
    const end = begin + declaredBytes(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  // Joined by hand: an object would move names that look like numbers to the front.
  const json = `{${entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(",")}}`;
  const text = new TextEncoder().encode(json);
  const padded = Math.ceil(text.length / 8) * 8;
  const out = new Uint8Array(8 + padded).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(text, 8);
  return out;
}

/** The tensor's data. Throws `usage` when its length does not fit shape and dtype. */
export async function tensorData(tensor: TensorToWrite): Promise<Uint8Array> {
  const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
  const want = declaredBytes(tensor);
  if (data.byteLength !== want) {
    throw new SubbitError(
      "usage",
      `Tensor ${tensor.name} was declared with ${want} bytes but came with ${data.byteLength}.`,
    );
  }
  return asBytes(data);
}

/** A whole safetensors file in memory. For small ones, and for the browser. */
export async function encodeSafetensors(
  tensors: Iterable<TensorToWrite>,
  options: SafetensorsMetadata = {},
): Promise<Uint8Array> {
  const ordered = inFileOrder([...tensors]);
  const header = encodeSafetensorsHeader(ordered, options);
  const out = new Uint8Array(ordered.reduce((sum, tensor) => sum + declaredBytes(tensor), header.length));
  out.set(header);
  let at = header.length;
  for (const tensor of ordered) {
    const data = await tensorData(tensor);
    out.set(data, at);
    at += data.length;
  }
  return out;
}
