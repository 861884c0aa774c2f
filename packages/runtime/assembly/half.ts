// binary16 to and from f32 by bit tricks, many at a time.

/** f32 dst[i] = binary16 src[i]; `count` is a multiple of 8. As `half` does it, from sign-extended halves. */
export function widenHalves(src: usize, dst: usize, count: i32): void {
  const end = src + (<usize>count << 1);
  const mask = i32x4.splat(0x8fffffff),
    factor = f32x4.splat(5192296858534827628530496329220096.0);
  for (; src < end; src += 16) {
    const low = i32x4.shl(v128.load16x4_s(src), 13),
      high = i32x4.shl(v128.load16x4_s(src, 8), 13);
    v128.store(dst, f32x4.mul(v128.and(low, mask), factor));
    v128.store(dst, f32x4.mul(v128.and(high, mask), factor), 16);
    dst += 32;
  }
}

/**
 * Four f32 to binary16 in the low halves of the lanes, to nearest, ties to even; what is beyond the largest becomes the largest.
 */
// @ts-ignore: decorator
@inline
export function narrowToHalf(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  const size = f32x4.pmin(f32x4.splat(65504.0), v128.xor(x, sign));
  // Adding 1/2 leaves a multiple of 2^-24, the step of subnormals, in the low mantissa bits; the adder rounds.
  const tiny = i32x4.sub(f32x4.add(size, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  // 0xfff and the last bit kept round to even; the exponent's bias goes from 127 to 15.
  const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(size, odd), i32x4.splat(<i32>0xc8000fff)), 13);
  const bits = v128.bitselect(tiny, normal, i32x4.lt_s(size, i32x4.splat(0x38800000)));
  return v128.or(bits, i32x4.shr_u(sign, 16));
}
