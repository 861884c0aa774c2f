// f32 rows rounded to integers of 8 or 16 bits with one step size a row.
import { largestLane, nearest } from "./simd";

/** y[i] = round(x[i] * limit / largest |x|) as i16, `count` a multiple of 8; returns the step, largest / limit. */
export function toIntegers(x: usize, y: usize, count: usize, limit: f32): f32 {
  const end = x + (count << 2);
  let a = f32x4.splat(0),
    b = a;
  for (let at = x; at < end; at += 32) {
    a = f32x4.pmax(a, f32x4.abs(v128.load(at)));
    b = f32x4.pmax(b, f32x4.abs(v128.load(at, 16)));
  }
  const size = f32x4.extract_lane(largestLane(f32x4.pmax(a, b)), 0);
  // Rows too small to divide by are zero.
  const inverse = f32x4.splat(size > <f32>1e-30 ? limit / size : 0);
  for (; x < end; x += 32) {
    v128.store(y, i16x8.narrow_i32x4_s(nearest(v128.load(x), inverse), nearest(v128.load(x, 16), inverse)));
    y += 16;
  }
  return size / limit;
}
