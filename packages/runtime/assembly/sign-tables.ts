// Tables for the sign product (lut12). A group of four inputs has 16 signed sums; a 4-bit code of signs picks one.
// Per block of SIGN_BLOCK inputs x is quantised so that every group sum fits 16 bits, and the sums are rounded to 12; sum + 2048
// is split into two 6-bit halves, because four 6-bit numbers can be added as bytes before they are widened.
// Group j of a chunk of 32 = inputs j, 8 + j, 16 + j, 24 + j: all groups of a chunk are computed side by side in lanes.
import {
  SIGN_BLOCK,
  SIGN_CHUNK,
  TABLE_BYTES_PER_INPUT,
  TABLE_LIMIT,
  TABLE_SHIFT,
  T_COLS,
  T_ROTATE,
  T_SCALE,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { number, tokens, word } from "./words";

/** Below this a block counts as zero: its step would overflow. */
const TINY: f32 = 1e-30;
/** Half of 1 << TABLE_SHIFT. */
const HALF: i16 = 8;

// @ts-ignore: decorator
@inline
function input(x: usize, scale: usize, offset: usize): v128 {
  const v = v128.load(x + offset);
  return scale == 0 ? v : f32x4.mul(v, v128.load(scale + offset));
}

/** Largest sum of |x| over a group. */
function largestGroup(x: usize, scale: usize, inputs: i32): f32 {
  let best = f32x4.splat(0);
  for (let at: usize = 0, end = <usize>inputs << 2; at < end; at += SIGN_CHUNK * 4) {
    // Two passes over a chunk of 128 bytes: groups 0-3, then 4-7.
    for (let half: usize = 0; half < 32; half += 16) {
      const o = at + half;
      let s = f32x4.add(f32x4.abs(input(x, scale, o)), f32x4.abs(input(x, scale, o + 32)));
      s = f32x4.add(s, f32x4.abs(input(x, scale, o + 64)));
      s = f32x4.add(s, f32x4.abs(input(x, scale, o + 96)));
      best = f32x4.max(best, s);
    }
  }
  return max(
    max(f32x4.extract_lane(best, 0), f32x4.extract_lane(best, 1)),
    max(f32x4.extract_lane(best, 2), f32x4.extract_lane(best, 3)),
  );
}

/** Eight inputs to 16-bit integers, nearest even: adding 1.5 * 2^23 leaves the integer in the low bits. */
// @ts-ignore: decorator
@inline
function quantise(x: usize, scale: usize, offset: usize, factor: v128): v128 {
  const magic = f32x4.splat(12582912.0), bits = i32x4.splat(0x4b400000);
  const a = i32x4.sub(f32x4.add(f32x4.mul(input(x, scale, offset), factor), magic), bits);
  const b = i32x4.sub(f32x4.add(f32x4.mul(input(x, scale, offset + 16), factor), magic), bits);
  return i16x8.narrow_i32x4_s(a, b);
}

// @ts-ignore: decorator
@inline
function zipLow8(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
// @ts-ignore: decorator
@inline
function zipHigh8(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
// @ts-ignore: decorator
@inline
function zipLow16(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
// @ts-ignore: decorator
@inline
function zipHigh16(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
// @ts-ignore: decorator
@inline
function zipLow32(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
}
// @ts-ignore: decorator
@inline
function zipHigh32(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
}

/**
 * Row i holds entry i (low half: of groups 0-7) and entry 8 + i (high half); stores the 16 entries of group g at dst + 32 g.
 */
// prettier-ignore
function storeTables(r0: v128, r1: v128, r2: v128, r3: v128, r4: v128, r5: v128, r6: v128, r7: v128, dst: usize): void {
  let a = zipLow8(r0, r1), b = zipLow8(r2, r3), c = zipLow8(r4, r5), d = zipLow8(r6, r7);
  const p0 = zipLow16(a, b), p1 = zipHigh16(a, b), p2 = zipLow16(c, d), p3 = zipHigh16(c, d);
  a = zipHigh8(r0, r1); b = zipHigh8(r2, r3); c = zipHigh8(r4, r5); d = zipHigh8(r6, r7);
  const n0 = zipLow16(a, b), n1 = zipHigh16(a, b), n2 = zipLow16(c, d), n3 = zipHigh16(c, d);
  storePair(zipLow32(p0, p2), zipLow32(n0, n2), dst);
  storePair(zipHigh32(p0, p2), zipHigh32(n0, n2), dst + 64);
  storePair(zipLow32(p1, p3), zipLow32(n1, n3), dst + 128);
  storePair(zipHigh32(p1, p3), zipHigh32(n1, n3), dst + 192);
}

// @ts-ignore: decorator
@inline
function storePair(positive: v128, negative: v128, dst: usize): void {
  v128.store(dst, v128.shuffle<i64>(positive, negative, 0, 2));
  v128.store(dst, v128.shuffle<i64>(positive, negative, 1, 3), 32);
}

/** Rounds a 16-bit group sum to 12 bits. */
// @ts-ignore: decorator
@inline
function round(sum: v128): v128 {
  return i16x8.shr_s(i16x8.add(sum, i16x8.splat(HALF)), TABLE_SHIFT);
}

// @ts-ignore: decorator
@inline
function lowBits(e: v128): v128 {
  const bias = i16x8.splat(2048), mask = i16x8.splat(63);
  return i8x16.narrow_i16x8_u(v128.and(i16x8.add(bias, e), mask), v128.and(i16x8.sub(bias, e), mask));
}
// @ts-ignore: decorator
@inline
function highBits(e: v128): v128 {
  const bias = i16x8.splat(2048);
  return i8x16.narrow_i16x8_u(i16x8.shr_u(i16x8.add(bias, e), 6), i16x8.shr_u(i16x8.sub(bias, e), 6));
}

/** Tables of one block; returns its step size. */
function blockTables(x: usize, scale: usize, inputs: i32, dst: usize): f32 {
  const largest = largestGroup(x, scale, inputs);
  const zero = !(largest > TINY);
  const factor = f32x4.splat(zero ? 0 : <f32>TABLE_LIMIT / largest);
  for (let at: usize = 0, end = <usize>inputs << 2; at < end; at += SIGN_CHUNK * 4) {
    const q0 = quantise(x, scale, at, factor), q1 = quantise(x, scale, at + 32, factor);
    const q2 = quantise(x, scale, at + 64, factor), q3 = quantise(x, scale, at + 96, factor);
    const a = i16x8.add(q0, q1), d = i16x8.sub(q0, q1), u = i16x8.add(q3, q2), v = i16x8.sub(q3, q2);
    const e0 = round(i16x8.add(u, a)), e1 = round(i16x8.sub(u, d)), e2 = round(i16x8.add(u, d)), e3 = round(i16x8.sub(u, a));
    const e4 = round(i16x8.add(v, a)), e5 = round(i16x8.sub(v, d)), e6 = round(i16x8.add(v, d)), e7 = round(i16x8.sub(v, a));
    // prettier-ignore
    storeTables(lowBits(e0), lowBits(e1), lowBits(e2), lowBits(e3), lowBits(e4), lowBits(e5), lowBits(e6), lowBits(e7), dst);
    // prettier-ignore
    storeTables(highBits(e0), highBits(e1), highBits(e2), highBits(e3), highBits(e4), highBits(e5), highBits(e6), highBits(e7), dst + 16);
    dst += SIGN_CHUNK * TABLE_BYTES_PER_INPUT;
  }
  return zero ? 0 : (largest / <f32>TABLE_LIMIT) * <f32>(1 << TABLE_SHIFT);
}

export function signTables(pc: usize, thread: i32, threads: i32): void {
  const cols = number(pc, T_COLS), scale = word(pc, T_SCALE);
  const blocks = (cols + SIGN_BLOCK - 1) / SIGN_BLOCK;
  const units = tokens() * blocks;
  for (let unit = (thread + number(pc, T_ROTATE)) % threads; unit < units; unit += threads) {
    const token = unit / blocks, block = unit % blocks, first = block * SIGN_BLOCK;
    const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE) + <usize>first) << 2);
    const tables = word(pc, W_DST) + <usize>token * word(pc, W_DST_STRIDE);
    const step = blockTables(
      x,
      scale == 0 ? 0 : scale + (<usize>first << 2),
      min(SIGN_BLOCK, cols - first),
      tables + <usize>first * TABLE_BYTES_PER_INPUT,
    );
    store<f32>(tables + <usize>cols * TABLE_BYTES_PER_INPUT + (<usize>block << 2), step);
  }
}
