/** What a tensor is: element type, shape, and the host array that holds its elements. */
import type { Shape } from "./shapes.js";

/** `u8` and `i8` are codes of integer products. */
export type DType = "f32" | "i32" | "i64" | "bool" | "u8" | "i8";

export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** Host data by dtype: f32 Float32Array, i32 Int32Array, i64 BigInt64Array, bool and u8 Uint8Array, i8 Int8Array. */
export type HostArray = Float32Array | Int32Array | BigInt64Array | Uint8Array | Int8Array;

/** The dtype of a host array; bytes without sign are taken for `bool`. */
export function dtypeOf(data: HostArray): DType {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof BigInt64Array) return "i64";
  if (data instanceof Int8Array) return "i8";
  return "bool";
}

/** Whether a host array can hold elements of the dtype. */
export function holds(data: HostArray, dtype: DType): boolean {
  return dtypeOf(data) === (dtype === "u8" ? "bool" : dtype);
}
