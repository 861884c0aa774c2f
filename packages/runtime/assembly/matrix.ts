// Eight consecutive weights of a row at a time, widened to f32. `dtype` is a constant at every call, so that after inlining
// only one branch is left.
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_I4, DTYPE_I8 } from "../src/abi";

/** Bytes of eight weights. */
// @ts-ignore: decorator
@inline
export function stepBytes(dtype: i32): usize {
  if (dtype == DTYPE_F32) return 32;
  if (dtype == DTYPE_F16 || dtype == DTYPE_BF16) return 16;
  if (dtype == DTYPE_I8) return 8;
  return 4;
}

// @ts-ignore: decorator
@inline
export function raw(dtype: i32, at: usize): v128 {
  if (dtype == DTYPE_I8) return v128.load8x8_s(at);
  if (dtype == DTYPE_I4) {
    const bytes = v128.load32_zero(at);
    const even = v128.and(bytes, i8x16.splat(15));
    const odd = v128.and(i16x8.shr_u(bytes, 4), i8x16.splat(15));
    const codes = v128.shuffle<i8>(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return i16x8.extend_low_i8x16_s(i8x16.sub(codes, i8x16.splat(8)));
  }
  return v128.load(at);
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
  if (dtype == DTYPE_F16) return half(v128.shuffle<i16>(i64x2.splat(0), value, 0, 8, 1, 9, 2, 10, 3, 11));
  if (dtype == DTYPE_BF16) return v128.shuffle<i16>(i64x2.splat(0), value, 0, 8, 1, 9, 2, 10, 3, 11);
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(value));
}

// @ts-ignore: decorator
@inline
export function high(dtype: i32, value: v128, at: usize): v128 {
  if (dtype == DTYPE_F32) return v128.load(at, 16);
  if (dtype == DTYPE_F16) return half(v128.shuffle<i16>(i64x2.splat(0), value, 4, 12, 5, 13, 6, 14, 7, 15));
  if (dtype == DTYPE_BF16) return v128.shuffle<i16>(i64x2.splat(0), value, 4, 12, 5, 13, 6, 14, 7, 15);
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(value));
}
