/**
 * Stored bytes seen as numbers. Files are little-endian and so is every machine that runs JavaScript engines with
 * WebAssembly, so views are enough; a view needs an aligned start, and gets a copy where it has none.
 */

/** The same bytes at an address that is a multiple of `alignment`. */
function aligned(bytes: Uint8Array, alignment: number): Uint8Array {
  return bytes.byteOffset % alignment === 0 ? bytes : bytes.slice();
}

export function bytesAsF32(bytes: Uint8Array): Float32Array {
  const at = aligned(bytes, 4);
  return new Float32Array(at.buffer, at.byteOffset, at.byteLength >>> 2);
}

export function bytesAsU16(bytes: Uint8Array): Uint16Array {
  const at = aligned(bytes, 2);
  return new Uint16Array(at.buffer, at.byteOffset, at.byteLength >>> 1);
}

export function bytesAsI32(bytes: Uint8Array): Int32Array {
  const at = aligned(bytes, 4);
  return new Int32Array(at.buffer, at.byteOffset, at.byteLength >>> 2);
}

export function bytesAsU32(bytes: Uint8Array): Uint32Array {
  const at = aligned(bytes, 4);
  return new Uint32Array(at.buffer, at.byteOffset, at.byteLength >>> 2);
}

export function bytesAsI64(bytes: Uint8Array): BigInt64Array {
  const at = aligned(bytes, 8);
  return new BigInt64Array(at.buffer, at.byteOffset, at.byteLength >>> 3);
}

/** The bytes of a typed array, without copying. */
export function asBytes(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
