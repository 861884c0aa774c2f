// Tables for the sign product. A group of four inputs has 16 signed sums; a 4-bit code of signs picks one.
// Per block of SIGN_BLOCK inputs x is quantised so that every group sum fits 16 bits. Then, by precision:
// - lut12: sums are rounded to 12 bits; sum + 2048 is split into two 6-bit halves, because four 6-bit numbers can be added as
//   bytes before they are widened;
// - lut8: sums are rounded to 8 bits, one table of sum + 128;
// - lut16: sum + 32768 as it is, in two bytes.
// Group j of a chunk of 32 = inputs j, 8 + j, 16 + j, 24 + j: all groups of a chunk are computed side by side in lanes.
import {
  LUT12,
  LUT16,
  LUT8,
  SIGN_BLOCK,
  SIGN_CHUNK,
  S_PRECISION,
  TABLE_BYTES_PER_INPUT,
  TABLE_LIMIT,
  T_COLS,
  T_ROTATE,
  T_SCALE,
  T_TERMS,
  T_TERM_BYTES,
  I_OTHER,
  I_KIND,
  I_ACTIVATION,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { prepareInputs, rowFactor } from "./sign-input";
import { largestLane, nearest } from "./simd";
import { number, scratch, tokens, word } from "./words";

/** Below this a block counts as zero: its step would overflow. */
const TINY: f32 = 1e-30;

/** Largest sum of |x| over a group. */
function largestGroup(x: usize, inputs: i32): f32 {
  let best = f32x4.splat(0);
  for (let end = x + (<usize>inputs << 2); x < end; x += SIGN_CHUNK * 4) {
    // Groups 0-3, then 4-7 of a chunk of 128 bytes.
    let s = f32x4.add(f32x4.abs(v128.load(x)), f32x4.abs(v128.load(x, 32)));
    s = f32x4.add(s, f32x4.abs(v128.load(x, 64)));
    best = f32x4.pmax(best, f32x4.add(s, f32x4.abs(v128.load(x, 96))));
    s = f32x4.add(f32x4.abs(v128.load(x, 16)), f32x4.abs(v128.load(x, 48)));
    s = f32x4.add(s, f32x4.abs(v128.load(x, 80)));
    best = f32x4.pmax(best, f32x4.add(s, f32x4.abs(v128.load(x, 112))));
  }
  return f32x4.extract_lane(largestLane(best), 0);
}

/** Eight inputs to 16-bit integers. */
// @ts-ignore: decorator
@inline
function quantise(x: usize, factor: v128): v128 {
  return i16x8.narrow_i32x4_s(nearest(v128.load(x), factor), nearest(v128.load(x, 16), factor));
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
export function zipLow16(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
// @ts-ignore: decorator
@inline
export function zipHigh16(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
// @ts-ignore: decorator
@inline
export function zipLow32(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
}
// @ts-ignore: decorator
@inline
export function zipHigh32(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
}

/**
 * Row i holds entry i (low half: of groups 0-7) and entry 8 + i (high half); stores the 16 entries of group g at dst + gap g.
 */
// prettier-ignore
function storeTables(r0: v128, r1: v128, r2: v128, r3: v128, r4: v128, r5: v128, r6: v128, r7: v128, dst: usize, gap: usize): void {
  let a = zipLow8(r0, r1), b = zipLow8(r2, r3), c = zipLow8(r4, r5), d = zipLow8(r6, r7);
  const p0 = zipLow16(a, b), p1 = zipHigh16(a, b), p2 = zipLow16(c, d), p3 = zipHigh16(c, d);
  a = zipHigh8(r0, r1); b = zipHigh8(r2, r3); c = zipHigh8(r4, r5); d = zipHigh8(r6, r7);
  const n0 = zipLow16(a, b), n1 = zipHigh16(a, b), n2 = zipLow16(c, d), n3 = zipHigh16(c, d);
  const pair = gap << 1;
  storePair(zipLow32(p0, p2), zipLow32(n0, n2), dst, gap);
  storePair(zipHigh32(p0, p2), zipHigh32(n0, n2), dst + pair, gap);
  storePair(zipLow32(p1, p3), zipLow32(n1, n3), dst + 2 * pair, gap);
  storePair(zipHigh32(p1, p3), zipHigh32(n1, n3), dst + 3 * pair, gap);
}

// @ts-ignore: decorator
@inline
export function storePair(positive: v128, negative: v128, dst: usize, gap: usize): void {
  v128.store(dst, v128.shuffle<i64>(positive, negative, 0, 2));
  v128.store(dst + gap, v128.shuffle<i64>(positive, negative, 1, 3));
}

/** Rounds a 16-bit group sum. `precision` is a constant at every call, as below. */
// @ts-ignore: decorator
@inline
function round(precision: i32, sum: v128): v128 {
  if (precision == LUT12) return i16x8.shr_s(i16x8.add(sum, i16x8.splat(8)), 4);
  if (precision == LUT8) return i16x8.shr_s(i16x8.add(sum, i16x8.splat(128)), 8);
  return sum;
}

/** The lower (lut8: the only) bytes of e and of -e, biased. */
// @ts-ignore: decorator
@inline
function lowBytes(precision: i32, e: v128): v128 {
  if (precision == LUT8) {
    const bias = i16x8.splat(128);
    return i8x16.narrow_i16x8_u(i16x8.add(bias, e), i16x8.sub(bias, e));
  }
  const bias = i16x8.splat(precision == LUT12 ? 2048 : -32768), mask = i16x8.splat(precision == LUT12 ? 63 : 255);
  return i8x16.narrow_i16x8_u(v128.and(i16x8.add(bias, e), mask), v128.and(i16x8.sub(bias, e), mask));
}
// @ts-ignore: decorator
@inline
function highBytes(precision: i32, e: v128): v128 {
  const bias = i16x8.splat(precision == LUT12 ? 2048 : -32768), shift = precision == LUT12 ? 6 : 8;
  return i8x16.narrow_i16x8_u(i16x8.shr_u(i16x8.add(bias, e), shift), i16x8.shr_u(i16x8.sub(bias, e), shift));
}

/** Tables of the 32 inputs at x. */
// @ts-ignore: decorator
@inline
function chunkTables(precision: i32, x: usize, factor: v128, dst: usize): void {
  const q0 = quantise(x, factor), q1 = quantise(x + 32, factor);
  const q2 = quantise(x + 64, factor), q3 = quantise(x + 96, factor);
  const a = i16x8.add(q0, q1), d = i16x8.sub(q0, q1), u = i16x8.add(q3, q2), v = i16x8.sub(q3, q2);
  const e0 = round(precision, i16x8.add(u, a)), e1 = round(precision, i16x8.sub(u, d));
  const e2 = round(precision, i16x8.add(u, d)), e3 = round(precision, i16x8.sub(u, a));
  const e4 = round(precision, i16x8.add(v, a)), e5 = round(precision, i16x8.sub(v, d));
  const e6 = round(precision, i16x8.add(v, d)), e7 = round(precision, i16x8.sub(v, a));
  const gap: usize = precision == LUT8 ? 16 : 32;
  // prettier-ignore
  storeTables(lowBytes(precision, e0), lowBytes(precision, e1), lowBytes(precision, e2), lowBytes(precision, e3), lowBytes(precision, e4), lowBytes(precision, e5), lowBytes(precision, e6), lowBytes(precision, e7), dst, gap);
  if (precision == LUT8) return;
  // prettier-ignore
  storeTables(highBytes(precision, e0), highBytes(precision, e1), highBytes(precision, e2), highBytes(precision, e3), highBytes(precision, e4), highBytes(precision, e5), highBytes(precision, e6), highBytes(precision, e7), dst + 16, gap);
}

function tables12(x: usize, end: usize, factor: v128, dst: usize): void {
  for (; x < end; x += SIGN_CHUNK * 4, dst += SIGN_CHUNK * 8) chunkTables(LUT12, x, factor, dst);
}
function tables8(x: usize, end: usize, factor: v128, dst: usize): void {
  for (; x < end; x += SIGN_CHUNK * 4, dst += SIGN_CHUNK * 4) chunkTables(LUT8, x, factor, dst);
}
function tables16(x: usize, end: usize, factor: v128, dst: usize): void {
  for (; x < end; x += SIGN_CHUNK * 4, dst += SIGN_CHUNK * 8) chunkTables(LUT16, x, factor, dst);
}

/** Tables of the `inputs` prepared floats at x, one block at most; returns the value of one unit of the tables' sums. */
function blockTables(precision: i32, x: usize, inputs: i32, dst: usize): f32 {
  const largest = largestGroup(x, inputs);
  const zero = !(largest > TINY);
  const factor = f32x4.splat(zero ? 0 : <f32>TABLE_LIMIT / largest);
  const end = x + (<usize>inputs << 2);
  if (precision == LUT12) tables12(x, end, factor, dst);
  else if (precision == LUT8) tables8(x, end, factor, dst);
  else tables16(x, end, factor, dst);
  const unit: f32 = precision == LUT12 ? 16 : precision == LUT8 ? 256 : 1;
  return zero ? 0 : (largest / <f32>TABLE_LIMIT) * unit;
}

/** Bytes of scratch that `tablesOfBlock` needs. */
export const INPUT_ROOM: usize = SIGN_BLOCK * 4;

/** Tables and step of one block of the row `x`; `other` is the row of I_OTHER, `tables` and `steps` those of the row. */
export function tablesOfBlock(pc: usize, x: usize, other: usize, scale: usize, cols: i32, block: i32, factor: f32, tables: usize, room: usize): void {
  const first = block * SIGN_BLOCK, inputs = min(SIGN_BLOCK, cols - first);
  const prepared = prepareInputs(pc, x, <usize>first << 2, <usize>inputs << 2, scale, other, room);
  const step = blockTables(number(pc, S_PRECISION), prepared, inputs, tables + <usize>first * TABLE_BYTES_PER_INPUT);
  store<f32>(tables + <usize>cols * TABLE_BYTES_PER_INPUT + (<usize>block << 2), step * factor);
}

/** Input scales of a term. */
// @ts-ignore: decorator
@inline
function scaleOf(scale: usize, term: i32, cols: i32): usize {
  return scale == 0 ? 0 : scale + ((<usize>term * <usize>cols) << 2);
}

/** Tables and steps of all blocks of a row for all terms, `bytes` from term to term. */
export function termTables(pc: usize, x: usize, other: usize, scale: usize, cols: i32, terms: i32, bytes: usize, tables: usize, room: usize): void {
  const factor = rowFactor(pc, x), blocks = (cols + SIGN_BLOCK - 1) / SIGN_BLOCK;
  for (let term = 0; term < max(1, terms); term++) {
    const own = scaleOf(scale, term, cols), to = tables + <usize>term * bytes;
    for (let block = 0; block < blocks; block++) tablesOfBlock(pc, x, other, own, cols, block, factor, to, room);
  }
}

/** The row of I_OTHER that belongs to a token: a weight is the same for all, an activation's partner is not. */
export function otherRow(pc: usize, token: i32): usize {
  const other = word(pc, I_OTHER);
  if (number(pc, I_KIND) != I_ACTIVATION || other == 0) return other;
  return other + ((<usize>token * word(pc, W_SRC_STRIDE)) << 2);
}

export function signTables(pc: usize, thread: i32, threads: i32): void {
  const cols = number(pc, T_COLS);
  const blocks = (cols + SIGN_BLOCK - 1) / SIGN_BLOCK;
  const terms = max(1, number(pc, T_TERMS)), units = tokens() * terms * blocks;
  for (let unit = (thread + number(pc, T_ROTATE)) % threads; unit < units; unit += threads) {
    const row = unit / blocks, token = row / terms, term = row % terms;
    const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE)) << 2);
    const tables = word(pc, W_DST) + <usize>token * word(pc, W_DST_STRIDE) + <usize>term * word(pc, T_TERM_BYTES);
    tablesOfBlock(pc, x, otherRow(pc, token), scaleOf(word(pc, T_SCALE), term, cols), cols, unit % blocks, rowFactor(pc, x), tables, scratch(thread));
  }
}
