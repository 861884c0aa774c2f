// Vector helpers shared by the kernels. One source, two builds: with relaxed SIMD a multiply-add is one instruction and a
// table lookup needs no index clamp.

// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Indices must be below 16: outside of that relaxed engines differ. */
// @ts-ignore: decorator
@inline
export function lookup(table: v128, indices: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i8x16.relaxed_swizzle(table, indices);
  return i8x16.swizzle(table, indices);
}

/** [sum a, sum b, sum c, sum d] */
// @ts-ignore: decorator
@inline
export function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

// @ts-ignore: decorator
@inline
export function sum(a: v128): f32 {
  return (
    f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 2) + (f32x4.extract_lane(a, 1) + f32x4.extract_lane(a, 3))
  );
}

/** acc[8] (+)= step * ((high << shift) + low - offset) of eight 16-bit lanes; `first` writes instead of adding. */
// @ts-ignore: decorator
@inline
export function flushSums(low: v128, high: v128, shift: i32, offset: v128, step: v128, acc: usize, first: bool): void {
  let a = i32x4.extend_low_i16x8_u(low), b = i32x4.extend_high_i16x8_u(low);
  if (shift != 0) {
    a = i32x4.add(a, i32x4.shl(i32x4.extend_low_i16x8_u(high), shift));
    b = i32x4.add(b, i32x4.shl(i32x4.extend_high_i16x8_u(high), shift));
  }
  a = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(a, offset)), step);
  b = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(b, offset)), step);
  if (!first) {
    a = f32x4.add(v128.load(acc), a);
    b = f32x4.add(v128.load(acc, 16), b);
  }
  v128.store(acc, a);
  v128.store(acc, b, 16);
}

/** Nearest integers (ties to even) of x * factor: adding 1.5 * 2^23 leaves them in the low mantissa bits. */
// @ts-ignore: decorator
@inline
export function nearest(x: v128, factor: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.mul(x, factor), f32x4.splat(12582912.0)), i32x4.splat(0x4b400000));
}

/** Flushes what two tables gave: sums of bytes as 16-bit pairs (`raw`, may have wrapped) and of the upper bytes (`odd`). */
// @ts-ignore: decorator
@inline
export function flushBytes(rawLow: v128, oddLow: v128, rawHigh: v128, oddHigh: v128, shift: i32, offset: v128, step: v128, acc: usize, first: bool): void {
  const evenLow = i16x8.sub(rawLow, i16x8.shl(oddLow, 8)), evenHigh = i16x8.sub(rawHigh, i16x8.shl(oddHigh, 8));
  flushSums(evenLow, evenHigh, shift, offset, step, acc, first);
  flushSums(oddLow, oddHigh, shift, offset, step, acc + 32, first);
}

/** e^x to about 2 ulp: x = n ln 2 + r, a polynomial for e^r, n into the exponent bits. */
export function exp4(v: v128): v128 {
  // One instruction each, where min and max take several to order zeros and NaN; in this order NaN stays NaN.
  const x = f32x4.pmax(f32x4.pmin(v, f32x4.splat(88.0)), f32x4.splat(-87.0));
  // Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits.
  const shifted = f32x4.add(f32x4.mul(x, f32x4.splat(1.44269504)), f32x4.splat(12582912.0));
  const n = f32x4.sub(shifted, f32x4.splat(12582912.0));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.1219444e-4)));
  let p = f32x4.splat(1.9875691e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.333452e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665796e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666666e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0e-1));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1.0));
  const power = i32x4.shl(i32x4.add(i32x4.sub(shifted, i32x4.splat(0x4b400000)), i32x4.splat(127)), 23);
  return f32x4.mul(p, power);
}

// Of 2^r - 1, highest power first; |r| <= 1/2.
const P5: f32 = 1.3264727e-3,
  P4: f32 = 9.671513e-3,
  P3: f32 = 5.5507336e-2,
  P2: f32 = 2.4022242e-1,
  P1: f32 = 6.93147e-1;
const SHIFT: f32 = 12582912.0;

/** 2^x for x <= 0 to 1e-7 of it; what is below 2^-125 becomes that. */
export function powerOfTwo(v: v128): v128 {
  const x = f32x4.pmax(f32x4.splat(-125.0), v);
  const shifted = f32x4.add(x, f32x4.splat(SHIFT));
  const r = f32x4.sub(x, f32x4.sub(shifted, f32x4.splat(SHIFT)));
  let p = madd(r, f32x4.splat(P5), f32x4.splat(P4));
  p = madd(p, r, f32x4.splat(P3));
  p = madd(p, r, f32x4.splat(P2));
  p = madd(p, r, f32x4.splat(P1));
  p = madd(p, r, f32x4.splat(1.0));
  // The nearest integer sits in the low mantissa bits of `shifted`; above them nothing survives the shift.
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/**
 * 2^(x - shift) of sixteen floats in place, as powerOfTwo computes it: constants, which some engines build anew at each use,
 * serve four vectors. Returns the sums of lanes.
 */
export function powersOfTwo(at: usize, shift: v128): v128 {
  const least = f32x4.splat(-125.0);
  let a = f32x4.pmax(least, f32x4.sub(v128.load(at), shift)),
    b = f32x4.pmax(least, f32x4.sub(v128.load(at, 16), shift)),
    c = f32x4.pmax(least, f32x4.sub(v128.load(at, 32), shift)),
    d = f32x4.pmax(least, f32x4.sub(v128.load(at, 48), shift));
  const large = f32x4.splat(SHIFT);
  const an = f32x4.add(a, large),
    bn = f32x4.add(b, large),
    cn = f32x4.add(c, large),
    dn = f32x4.add(d, large);
  a = f32x4.sub(a, f32x4.sub(an, large));
  b = f32x4.sub(b, f32x4.sub(bn, large));
  c = f32x4.sub(c, f32x4.sub(cn, large));
  d = f32x4.sub(d, f32x4.sub(dn, large));
  let k = f32x4.splat(P5);
  const k4 = f32x4.splat(P4);
  let ap = madd(a, k, k4),
    bp = madd(b, k, k4),
    cp = madd(c, k, k4),
    dp = madd(d, k, k4);
  k = f32x4.splat(P3);
  ap = madd(ap, a, k);
  bp = madd(bp, b, k);
  cp = madd(cp, c, k);
  dp = madd(dp, d, k);
  k = f32x4.splat(P2);
  ap = madd(ap, a, k);
  bp = madd(bp, b, k);
  cp = madd(cp, c, k);
  dp = madd(dp, d, k);
  k = f32x4.splat(P1);
  ap = madd(ap, a, k);
  bp = madd(bp, b, k);
  cp = madd(cp, c, k);
  dp = madd(dp, d, k);
  k = f32x4.splat(1.0);
  ap = i32x4.add(madd(ap, a, k), i32x4.shl(an, 23));
  bp = i32x4.add(madd(bp, b, k), i32x4.shl(bn, 23));
  cp = i32x4.add(madd(cp, c, k), i32x4.shl(cn, 23));
  dp = i32x4.add(madd(dp, d, k), i32x4.shl(dn, 23));
  v128.store(at, ap);
  v128.store(at, bp, 16);
  v128.store(at, cp, 32);
  v128.store(at, dp, 48);
  return f32x4.add(f32x4.add(f32x4.add(ap, bp), cp), dp);
}

/** The largest lane in every lane. */
// @ts-ignore: decorator
@inline
export function largestLane(v: v128): v128 {
  const a = f32x4.pmax(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.pmax(a, v128.shuffle<i32>(a, a, 1, 0, 3, 2));
}
