/** What a tensor is: element type, shape, and the host array that holds its elements. */
import type { Shape } from "./shapes.js";

export type DType = "f32" | "i32" | "i64" | "bool";

export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** Host data by dtype: f32 Float32Array, i32 Int32Array, i64 BigInt64Array, bool Uint8Array. */
export type HostArray = Float32Array | Int32Array | BigInt64Array | Uint8Array;

export function dtypeOf(data: HostArray): DType {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof BigInt64Array) return "i64";
  return "bool";
}
