// f32 rows rounded to integers of 8 or 16 bits with one step size a row.

// 1.5 * 2^23: added to a float, it leaves the nearest integer (ties to even) in the low mantissa bits.
const SHIFT: f32 = 12582912.0;
const SHIFT_BITS: i32 = 0x4b400000;

/** Largest |x| of `count` floats, a multiple of 8. */
export function largestSize(x: usize, count: usize): f32 {
  let a = f32x4.splat(0),
    b = a;
  for (const end = x + (count << 2); x < end; x += 32) {
    a = f32x4.max(a, f32x4.abs(v128.load(x)));
    b = f32x4.max(b, f32x4.abs(v128.load(x, 16)));
  }
  a = f32x4.max(a, b);
  return max(
    max(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
    max(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  );
}

// @ts-ignore: decorator
@inline
function rounded(x: v128, inverse: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.mul(x, inverse), f32x4.splat(SHIFT)), i32x4.splat(SHIFT_BITS));
}

/** y[i] = round(x[i] * limit / largest |x|) as i16, `count` a multiple of 8; returns the step, largest / limit. */
export function toIntegers(x: usize, y: usize, count: usize, limit: f32): f32 {
  const size = largestSize(x, count);
  // Rows too small to divide by are zero.
  const inverse = f32x4.splat(size > <f32>1e-30 ? limit / size : 0);
  for (const end = x + (count << 2); x < end; x += 32) {
    v128.store(y, i16x8.narrow_i32x4_s(rounded(v128.load(x), inverse), rounded(v128.load(x, 16), inverse)));
    y += 16;
  }
  return size / limit;
}
