// Consecutive weights of a row widened to f32: eight at a time, of 4 and 2-bit codes sixteen. `dtype` is a constant at every call, so
// that after inlining only one branch is left.
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_I2, DTYPE_I8 } from "../src/abi";
import { lookup } from "./simd";

/** Bytes of eight weights; not for 4 and 2-bit codes. */
// @ts-ignore: decorator
@inline
export function stepBytes(dtype: i32): usize {
  if (dtype == DTYPE_F32) return 32;
  if (dtype == DTYPE_F16 || dtype == DTYPE_BF16) return 16;
  return 8;
}

// @ts-ignore: decorator
@inline
export function raw(dtype: i32, at: usize): v128 {
  if (dtype == DTYPE_I8) return v128.load8x8_s(at);
  return v128.load(at);
}

/** Four 16-bit values into the upper halves of 32-bit lanes: bf16 is the upper half of f32. */
// @ts-ignore: decorator
@inline
export function wideLow(value: v128): v128 {
  return v128.shuffle<i16>(i64x2.splat(0), value, 0, 8, 1, 9, 2, 10, 3, 11);
}
// @ts-ignore: decorator
@inline
export function wideHigh(value: v128): v128 {
  return v128.shuffle<i16>(i64x2.splat(0), value, 4, 12, 5, 13, 6, 14, 7, 15);
}

// @ts-ignore: decorator
@inline
function zipLow8(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

/** Sixteen 4-bit codes in the order of their columns, one a byte. */
// @ts-ignore: decorator
@inline
export function codes(at: usize): v128 {
  const bytes = v128.load64_zero(at);
  const even = v128.and(bytes, i8x16.splat(15)), odd = v128.and(i16x8.shr_u(bytes, 4), i8x16.splat(15));
  return zipLow8(even, odd);
}

/**
 * Sixteen 2-bit codes in the order of their columns, as indices: of a pair in a nibble the even column is its low bits, the odd
 * one its high bits as they stand (0, 4, 8, 12).
 */
// @ts-ignore: decorator
@inline
export function pairCodes(at: usize): v128 {
  const bytes = v128.load32_zero(at);
  // Two interleavings are one instruction each, where a shuffle of any other order takes several.
  const nibbles = zipLow8(bytes, i16x8.shr_u(bytes, 4));
  return v128.and(zipLow8(nibbles, nibbles), i8x16(3, 12, 3, 12, 3, 12, 3, 12, 3, 12, 3, 12, 3, 12, 3, 12));
}

/** Codes of DTYPE_I4 or DTYPE_I2 for `codesLow` and `codesHigh`. */
// @ts-ignore: decorator
@inline
export function codesOf(dtype: i32, at: usize): v128 {
  return dtype == DTYPE_I2 ? pairCodes(at) : codes(at);
}

/** code - 8 (i4) or code - 3 / 2 (i2) as bf16, which holds it exactly: two lookups, for its lower and its upper byte. Columns 0-7. */
// @ts-ignore: decorator
@inline
export function codesLow(dtype: i32, code: v128): v128 {
  return zipLow8(lowBytes(dtype, code), highBytes(dtype, code));
}
/** Columns 8-15. */
// @ts-ignore: decorator
@inline
export function codesHigh(dtype: i32, code: v128): v128 {
  // prettier-ignore
  return v128.shuffle<i8>(lowBytes(dtype, code), highBytes(dtype, code), 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
// @ts-ignore: decorator
@inline
function lowBytes(dtype: i32, code: v128): v128 {
  if (dtype == DTYPE_I2) return lookup(i8x16(-64, 0, 0, -64, 0, 0, 0, 0, 0, 0, 0, 0, -64, 0, 0, 0), code);
  return lookup(i8x16(0, -32, -64, -96, -128, 64, 0, -128, 0, -128, 0, 64, -128, -96, -64, -32), code);
}
// @ts-ignore: decorator
@inline
function highBytes(dtype: i32, code: v128): v128 {
  if (dtype == DTYPE_I2) return lookup(i8x16(-65, -65, 63, 63, -65, 0, 0, 0, 63, 0, 0, 0, 63, 0, 0, 0), code);
  return lookup(i8x16(-63, -64, -64, -64, -64, -64, -64, -65, 0, 63, 64, 64, 64, 64, 64, 64), code);
}

// @ts-ignore: decorator
@inline
function half(bits: v128): v128 {
  // The half sits in the upper 16 bits. An arithmetic shift puts its exponent and mantissa where f32 has them, the mask removes
  // the copies of the sign, and 2^112 = 2^(127 - 15) corrects the exponent bias; subnormals come out right as well.
  const shifted = v128.and(i32x4.shr_s(bits, 3), i32x4.splat(0x8fffffff));
  return f32x4.mul(shifted, f32x4.splat(5192296858534827628530496329220096.0));
}

// @ts-ignore: decorator
@inline
export function low(dtype: i32, value: v128): v128 {
  if (dtype == DTYPE_F32) return value;
  if (dtype == DTYPE_F16) return half(wideLow(value));
  if (dtype == DTYPE_BF16) return wideLow(value);
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(value));
}

// @ts-ignore: decorator
@inline
export function high(dtype: i32, value: v128, at: usize): v128 {
  if (dtype == DTYPE_F32) return v128.load(at, 16);
  if (dtype == DTYPE_F16) return half(wideHigh(value));
  if (dtype == DTYPE_BF16) return wideHigh(value);
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(value));
}
