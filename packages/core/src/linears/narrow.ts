/** The smallest storage that holds given values: without loss for vectors, at a chosen width for matrices. */
import { asBytes } from "../tensors/bytes.js";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "../tensors/half.js";
import { bitsOfDense } from "./bits.js";
import { denseValues } from "./dense-linear.js";
import { quantiseRows } from "./quantise-rows.js";
import type { DenseLinear } from "./types.js";

export interface NarrowVector {
  readonly dtype: "F16" | "BF16" | "F32";
  /** Little-endian. */
  readonly bytes: Uint8Array;
}

/** The values in 16 bits where every one of them fits exactly, else in 32. */
export function narrowVector(values: Float32Array): NarrowVector {
  const half = f32ToF16(values);
  if (equalBits(f16ToF32(half), values)) return { dtype: "F16", bytes: asBytes(half) };
  const brain = f32ToBf16(values);
  if (equalBits(bf16ToF32(brain), values)) return { dtype: "BF16", bytes: asBytes(brain) };
  return { dtype: "F32", bytes: asBytes(values) };
}

function equalBits(a: Float32Array, b: Float32Array): boolean {
  return a.every((value, i) => Object.is(value, b[i]));
}

/**
 * A dense matrix at `bits` a value: 16 keeps 16-bit floats as they are and rounds f32 to f16 (to bf16 where f16 would
 * overflow), 8, 4 and 2 quantise rows. A matrix that is that narrow already comes back unchanged.
 */
export function reduceDense(linear: DenseLinear, bits: 16 | 8 | 4 | 2): DenseLinear {
  const { dtype } = linear.storage;
  if (bitsOfDense(dtype) <= bits) return linear;
  if (bits !== 16) return quantiseRows(linear, bits);
  const values = denseValues(linear);
  const half = f32ToF16(values);
  const overflows = half.some((pattern) => (pattern & 0x7fff) === 0x7c00);
  return {
    ...linear,
    storage: overflows ? { dtype: "bf16", values: f32ToBf16(values) } : { dtype: "f16", values: half },
  };
}
