// Four rows of a dense matrix times one x, each row in a vector accumulator of its own: the sum of a row has the same order
// whichever rows stand beside it, so a single row asked for later gives the same bits as the whole product.
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_I2, DTYPE_I4, DTYPE_I8 } from "../src/abi";
import { codesHigh, codesLow, codesOf, high, low, raw, stepBytes, wideHigh, wideLow } from "./matrix";
import { madd, sums } from "./simd";

/** Products of four rows with one x. */
// @ts-ignore: decorator
@inline
function dot4(dtype: i32, w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  const end = x + (<usize>cols << 2);
  while (x < end) {
    const x0 = v128.load(x), x1 = v128.load(x, 16);
    const r0 = raw(dtype, w), r1 = raw(dtype, w1), r2 = raw(dtype, w2), r3 = raw(dtype, w3);
    a = madd(low(dtype, r0), x0, a);
    b = madd(low(dtype, r1), x0, b);
    c = madd(low(dtype, r2), x0, c);
    d = madd(low(dtype, r3), x0, d);
    a = madd(high(dtype, r0, w), x1, a);
    b = madd(high(dtype, r1, w1), x1, b);
    c = madd(high(dtype, r2, w2), x1, c);
    d = madd(high(dtype, r3, w3), x1, d);
    x += 32;
    w += stepBytes(dtype);
    w1 += stepBytes(dtype);
    w2 += stepBytes(dtype);
    w3 += stepBytes(dtype);
  }
  return sums(a, b, c, d);
}

function dot4F32(w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_F32, w, w1, w2, w3, x, cols);
}
function dot4F16(w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_F16, w, w1, w2, w3, x, cols);
}
function dot4Bf16(w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_BF16, w, w1, w2, w3, x, cols);
}
function dot4I8(w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_I8, w, w1, w2, w3, x, cols);
}

/** Adds sixteen products of a row of 4 or 2-bit codes. */
// @ts-ignore: decorator
@inline
function codeProducts(dtype: i32, at: usize, x0: v128, x1: v128, x2: v128, x3: v128, sum: v128): v128 {
  const code = codesOf(dtype, at), first = codesLow(dtype, code), second = codesHigh(dtype, code);
  sum = madd(wideLow(first), x0, sum);
  sum = madd(wideHigh(first), x1, sum);
  sum = madd(wideLow(second), x2, sum);
  return madd(wideHigh(second), x3, sum);
}

// @ts-ignore: decorator
@inline
function dot4Codes(dtype: i32, w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (let end = x + (<usize>cols << 2); x < end; x += 64) {
    const x0 = v128.load(x), x1 = v128.load(x, 16), x2 = v128.load(x, 32), x3 = v128.load(x, 48);
    a = codeProducts(dtype, w, x0, x1, x2, x3, a);
    b = codeProducts(dtype, w1, x0, x1, x2, x3, b);
    c = codeProducts(dtype, w2, x0, x1, x2, x3, c);
    d = codeProducts(dtype, w3, x0, x1, x2, x3, d);
    const bytes: usize = dtype == DTYPE_I2 ? 4 : 8;
    w += bytes;
    w1 += bytes;
    w2 += bytes;
    w3 += bytes;
  }
  return sums(a, b, c, d);
}

function dot4I4(w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  return dot4Codes(DTYPE_I4, w, w1, w2, w3, x, cols);
}
function dot4I2(w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  return dot4Codes(DTYPE_I2, w, w1, w2, w3, x, cols);
}

/** Products of four rows of any dtype, at any four places, with one x; row scales are not applied. */
export function fourRows(dtype: i32, w: usize, w1: usize, w2: usize, w3: usize, x: usize, cols: i32): v128 {
  switch (dtype) {
    case DTYPE_F32:
      return dot4F32(w, w1, w2, w3, x, cols);
    case DTYPE_F16:
      return dot4F16(w, w1, w2, w3, x, cols);
    case DTYPE_BF16:
      return dot4Bf16(w, w1, w2, w3, x, cols);
    case DTYPE_I8:
      return dot4I8(w, w1, w2, w3, x, cols);
    case DTYPE_I4:
      return dot4I4(w, w1, w2, w3, x, cols);
    default:
      return dot4I2(w, w1, w2, w3, x, cols);
  }
}

