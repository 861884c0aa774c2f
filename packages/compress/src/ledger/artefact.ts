/**
 * What a step leaves behind: named arrays and a JSON value, as one safetensors file (the JSON in its metadata), so that
 * any tool can open an artefact.
 */
import { SubbitError } from "@subbit/core";
import { canonicalJson, type Json } from "./canonical.js";

export type ArtefactArray = Float32Array | Uint32Array | Int32Array | Uint16Array | Uint8Array;

export interface Artefact {
  readonly arrays: ReadonlyMap<string, ArtefactArray>;
  readonly json: Json;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

interface Header {
  readonly __metadata__: { readonly json: string };
  readonly [name: string]: unknown;
}

const KINDS = {
  F32: Float32Array,
  U32: Uint32Array,
  I32: Int32Array,
  U16: Uint16Array,
  U8: Uint8Array,
} as const;

function dtypeOf(array: ArtefactArray): keyof typeof KINDS {
  if (array instanceof Float32Array) return "F32";
  if (array instanceof Uint32Array) return "U32";
  if (array instanceof Int32Array) return "I32";
  return array instanceof Uint16Array ? "U16" : "U8";
}

/** The file's bytes as parts that share memory with the arrays. Arrays are written in the order of their names. */
export function encodeArtefact(artefact: Artefact): Uint8Array[] {
  const header: Record<string, unknown> = { __metadata__: { json: canonicalJson(artefact.json) } };
  const bodies: Uint8Array[] = [];
  let offset = 0;
  for (const name of [...artefact.arrays.keys()].sort()) {
    const array = artefact.arrays.get(name)!;
    header[name] = {
      dtype: dtypeOf(array),
      shape: [array.length],
      data_offsets: [offset, offset + array.byteLength],
    };
    bodies.push(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    // Every array starts at a multiple of 8, so that reading needs no copy.
    const padding = (8 - (array.byteLength % 8)) % 8;
    if (padding > 0) bodies.push(new Uint8Array(padding));
    offset += array.byteLength + padding;
  }
  let text = JSON.stringify(header);
  text = text.padEnd(Math.ceil(Buffer.byteLength(text) / 8) * 8 - Buffer.byteLength(text) + text.length, " ");
  const encoded = new TextEncoder().encode(text);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(encoded.length), true);
  return [length, encoded, ...bodies];
}

/** The inverse; arrays are views of `bytes`. Only for bytes whose hash was verified. */
export function decodeArtefact(bytes: Uint8Array): Artefact {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)),
  ) as Header;
  const arrays = new Map<string, ArtefactArray>();
  for (const [name, entry] of Object.entries(entries as Record<string, HeaderEntry>)) {
    const kind = KINDS[entry.dtype as keyof typeof KINDS];
    if (kind === undefined) throw new SubbitError("internal", `An artefact holds ${name} as ${entry.dtype}.`);
    const begin = bytes.byteOffset + 8 + headerBytes + entry.data_offsets[0];
    const count = entry.shape.reduce((product, n) => product * n, 1);
    arrays.set(name, new kind(bytes.buffer as ArrayBuffer, begin, count));
  }
  return { arrays, json: JSON.parse(metadata.json) as Json };
}

/** The f32 array of that name; throws `internal` when the artefact does not hold it. */
export function floats(artefact: Artefact, name: string): Float32Array {
  const array = artefact.arrays.get(name);
  if (!(array instanceof Float32Array))
    throw new SubbitError("internal", `An artefact lacks the f32 array ${name}.`);
  return array;
}
