/** Sizes of the plain (not block) dtypes, and their widening to f32. */
import { inputError } from "../errors.js";
import { bytesAsF32, bytesAsI32, bytesAsI64, bytesAsU16 } from "../tensors/bytes.js";
import { bf16ToF32, f16ToF32 } from "../tensors/half.js";

/** Dtypes that a safetensors file may have and that are read. */
export type PlainDtype = "F32" | "F16" | "BF16" | "I8" | "U8" | "I32" | "I64";

/** Bytes of one element. */
export const PLAIN_DTYPE_BYTES: Readonly<Record<PlainDtype, number>> = {
  F32: 4,
  F16: 2,
  BF16: 2,
  I8: 1,
  U8: 1,
  I32: 4,
  I64: 8,
};

export function isPlainDtype(dtype: string): dtype is PlainDtype {
  return Object.hasOwn(PLAIN_DTYPE_BYTES, dtype);
}

/** Largest magnitude up to which f32 holds every integer. */
const MAX_EXACT_INTEGER = 2 ** 24;

/** Integers as f32; throws `input` for one that f32 does not hold. */
function integersToF32(values: ArrayLike<number | bigint>, name: string): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const value = Number(values[i]);
    if (Math.abs(value) > MAX_EXACT_INTEGER && Math.fround(value) !== value) {
      throw inputError(
        `Tensor ${name} holds the integer ${values[i]}, which 32-bit floats cannot hold exactly.`,
      );
    }
    out[i] = value;
  }
  return out;
}

/** Widens stored elements to f32, exactly. The result may share memory with `bytes`. */
export function plainToF32(dtype: PlainDtype, bytes: Uint8Array, name: string): Float32Array {
  switch (dtype) {
    case "F32":
      return bytesAsF32(bytes);
    case "F16":
      return f16ToF32(bytesAsU16(bytes));
    case "BF16":
      return bf16ToF32(bytesAsU16(bytes));
    case "U8":
      return Float32Array.from(bytes);
    case "I8":
      return Float32Array.from(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    case "I32":
      return integersToF32(bytesAsI32(bytes), name);
    case "I64":
      return integersToF32(bytesAsI64(bytes), name);
  }
}
