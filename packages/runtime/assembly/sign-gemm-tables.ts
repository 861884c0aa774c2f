// Entries of the sign GEMM for one block of inputs and up to 16 tokens: for each group of four inputs the 16 signed sums of
// every token, token by lane. Inputs are first rounded finely (a token's largest group sum fills 16 bits), then the sums are
// rounded once more to the token's step of the block: one coarse rounding a group instead of one an input halves the error.
import { GEMM_BLOCK, GEMM_LANES, SIGN_CHUNK, GEMM_LIMIT } from "../src/abi";
import { storePair, zipHigh16, zipHigh32, zipLow16, zipLow32 } from "./sign-tables";
import { nearest } from "./simd";

/** Below this a block counts as zero: its step would overflow. */
const TINY: f32 = 1e-30;
/** After the f32 steps of the lanes: the 16-bit factors that take fine sums to those steps, and the f32 fine factors. */
const FACTORS: usize = 64;
const FINE: usize = 96;
/** Bytes of a lane's finely rounded inputs. */
const ROW: usize = GEMM_BLOCK * 2;

// Room of a block: scaled inputs [token][input] f32; over them, when they are rounded, inputs of 16 bits by lane.
const SCALED_ROW: usize = GEMM_BLOCK * 4;
const ROUNDED: usize = <usize>GEMM_LANES * SCALED_ROW;
const SIZES: usize = ROUNDED + <usize>GEMM_LANES * ROW;

/** x o scale */
function scaleInputs(x: usize, scale: usize, chunks: i32, out: usize): void {
  for (let end = x + <usize>chunks * (SIGN_CHUNK * 4); x < end; x += 32) {
    v128.store(out, f32x4.mul(v128.load(x), v128.load(scale)));
    v128.store(out, f32x4.mul(v128.load(x, 16), v128.load(scale, 16)), 16);
    scale += 32;
    out += 32;
  }
}

/** Sums of |x| over the groups of four of one token: the largest and all together, four partial results each. */
function groupSizes(x: usize, chunks: i32, out: usize): void {
  let best = f32x4.splat(0), total = best;
  for (let end = x + <usize>chunks * (SIGN_CHUNK * 4); x < end; x += SIGN_CHUNK * 4) {
    let s = f32x4.add(f32x4.abs(v128.load(x)), f32x4.abs(v128.load(x, 32)));
    s = f32x4.add(f32x4.add(s, f32x4.abs(v128.load(x, 64))), f32x4.abs(v128.load(x, 96)));
    best = f32x4.pmax(best, s);
    total = f32x4.add(total, s);
    s = f32x4.add(f32x4.abs(v128.load(x, 16)), f32x4.abs(v128.load(x, 48)));
    s = f32x4.add(f32x4.add(s, f32x4.abs(v128.load(x, 80))), f32x4.abs(v128.load(x, 112)));
    best = f32x4.pmax(best, s);
    total = f32x4.add(total, s);
  }
  v128.store(out, best);
  v128.store(out, total, 16);
}

/** Four partial results of each of four lanes, 32 bytes apart: in the order of `sum` of simd.ts, or the largest. */
// @ts-ignore: decorator
@inline
function reduce(at: usize, largest: bool): v128 {
  const r0 = v128.load(at), r1 = v128.load(at, 32), r2 = v128.load(at, 64), r3 = v128.load(at, 96);
  const a = zipLow32(r0, r1), b = zipLow32(r2, r3), c = zipHigh32(r0, r1), d = zipHigh32(r2, r3);
  const p = v128.shuffle<i64>(a, b, 0, 2), q = v128.shuffle<i64>(a, b, 1, 3);
  const u = v128.shuffle<i64>(c, d, 0, 2), v = v128.shuffle<i64>(c, d, 1, 3);
  if (largest) return f32x4.pmax(f32x4.pmax(p, q), f32x4.pmax(u, v));
  return f32x4.add(f32x4.add(p, u), f32x4.add(q, v));
}

/** Steps and factors of all lanes. */
function laneFactors(sizes: usize, steps: usize): void {
  const limit = f32x4.splat(<f32>GEMM_LIMIT);
  for (let lane: usize = 0; lane < <usize>GEMM_LANES; lane += 4) {
    const largest = reduce(sizes + lane * 32, true), total = reduce(sizes + lane * 32 + 16, false);
    const some = f32x4.gt(largest, f32x4.splat(TINY));
    const fine = v128.and(f32x4.div(limit, largest), some);
    // All groups of the block together must fit 16 bits; half a unit for each rounded input is added.
    const room = f32x4.add(f32x4.mul(total, fine), f32x4.splat(<f32>(GEMM_BLOCK / 2)));
    const most = f32x4.div(f32x4.splat(<f32>(GEMM_LIMIT * 32768)), room);
    const factor = i32x4.trunc_sat_f32x4_s(f32x4.min(most, f32x4.splat(32767)));
    const step = f32x4.mul(f32x4.div(largest, limit), f32x4.div(f32x4.splat(32768), f32x4.convert_i32x4_s(factor)));
    v128.store(steps + lane * 4, v128.and(step, some));
    v128.store64_lane(steps + FACTORS + lane * 2, i16x8.narrow_i32x4_s(factor, factor), 0);
    v128.store(steps + FINE + lane * 4, fine);
  }
}

/** Finely rounded inputs of one token, 16 bits each. */
function roundInputs(x: usize, fine: f32, chunks: i32, out: usize): void {
  const factor = f32x4.splat(fine);
  for (let end = x + <usize>chunks * (SIGN_CHUNK * 4); x < end; x += 32) {
    v128.store(out, i16x8.narrow_i32x4_s(nearest(v128.load(x), factor), nearest(v128.load(x, 16), factor)));
    out += 16;
  }
}

/** Eight inputs of eight tokens, [token][input] with ROW between tokens, to [input][token] with 32 bytes between inputs. */
function transpose8(from: usize, to: usize): void {
  let r0 = v128.load(from), r1 = v128.load(from, ROW), r2 = v128.load(from, 2 * ROW), r3 = v128.load(from, 3 * ROW);
  let a0 = zipLow16(r0, r1), a1 = zipHigh16(r0, r1), a2 = zipLow16(r2, r3), a3 = zipHigh16(r2, r3);
  const b0 = zipLow32(a0, a2), b1 = zipHigh32(a0, a2), b2 = zipLow32(a1, a3), b3 = zipHigh32(a1, a3);
  r0 = v128.load(from, 4 * ROW);
  r1 = v128.load(from, 5 * ROW);
  r2 = v128.load(from, 6 * ROW);
  r3 = v128.load(from, 7 * ROW);
  a0 = zipLow16(r0, r1);
  a1 = zipHigh16(r0, r1);
  a2 = zipLow16(r2, r3);
  a3 = zipHigh16(r2, r3);
  const c0 = zipLow32(a0, a2), c1 = zipHigh32(a0, a2), c2 = zipLow32(a1, a3), c3 = zipHigh32(a1, a3);
  storePair(b0, c0, to, 32);
  storePair(b1, c1, to + 64, 32);
  storePair(b2, c2, to + 128, 32);
  storePair(b3, c3, to + 192, 32);
}

// @ts-ignore: decorator
@inline
function storeEntry(code: usize, value: v128, factor: v128, zero: v128, to: usize): void {
  // Both builds give the same: no operand is -32768.
  const entry = ASC_FEATURE_RELAXED_SIMD ? i16x8.relaxed_q15mulr_s(value, factor) : i16x8.q15mulr_sat_s(value, factor);
  v128.store(to + code * 32, entry);
  v128.store(to + (code + 8) * 32, i16x8.sub(zero, entry));
}

/** The 16 sums of the group whose first input is at `q`, eight inputs (256 bytes) between its inputs. */
function groupEntries(q: usize, factor: v128, to: usize): void {
  const q0 = v128.load(q), q1 = v128.load(q, 256), q2 = v128.load(q, 512), q3 = v128.load(q, 768);
  const zero = i64x2.splat(0);
  const a = i16x8.add(q0, q1), d = i16x8.sub(q0, q1), u = i16x8.add(q3, q2), v = i16x8.sub(q3, q2);
  storeEntry(0, i16x8.add(u, a), factor, zero, to);
  storeEntry(1, i16x8.sub(u, d), factor, zero, to);
  storeEntry(2, i16x8.add(u, d), factor, zero, to);
  storeEntry(3, i16x8.sub(u, a), factor, zero, to);
  storeEntry(4, i16x8.add(v, a), factor, zero, to);
  storeEntry(5, i16x8.sub(v, d), factor, zero, to);
  storeEntry(6, i16x8.add(v, d), factor, zero, to);
  storeEntry(7, i16x8.sub(v, a), factor, zero, to);
}

/**
 * Entries of `chunks` chunks, [group][code][lane] of 16 bits, for `count` tokens from `x` on; the steps of the lanes to
 * `steps`.
 *
 * @param steps room of 160 bytes
 * @param room 13 KB
 */
export function blockEntries(
  x: usize,
  stride: usize,
  count: i32,
  scale: usize,
  chunks: i32,
  steps: usize,
  entries: usize,
  room: usize,
): void {
  // Lanes without a token get the sizes of zeros; whatever stands in their inputs is nobody's.
  memory.fill(room + SIZES, 0, GEMM_LANES * 32);
  for (let lane: usize = 0; lane < <usize>count; lane++) {
    const row = room + lane * SCALED_ROW;
    if (scale != 0) scaleInputs(x + lane * stride, scale, chunks, row);
    groupSizes(scale != 0 ? row : x + lane * stride, chunks, room + SIZES + lane * 32);
  }
  laneFactors(room + SIZES, steps);
  for (let lane: usize = 0; lane < <usize>count; lane++) {
    const row = scale != 0 ? room + lane * SCALED_ROW : x + lane * stride;
    roundInputs(row, load<f32>(steps + FINE + (lane << 2)), chunks, room + ROUNDED + lane * ROW);
  }
  const lanes = room;
  for (let half: usize = 0; half < 2; half++) {
    const factor = v128.load(steps + FACTORS + half * 16);
    for (let input: usize = 0; input < <usize>chunks * SIGN_CHUNK; input += 8) {
      transpose8(room + ROUNDED + half * (8 * ROW) + input * 2, lanes + half * 16 + input * 32);
    }
    for (let chunk: usize = 0; chunk < <usize>chunks; chunk++) {
      for (let j: usize = 0; j < 8; j++) {
        groupEntries(
          lanes + half * 16 + (chunk * SIGN_CHUNK + j) * 32,
          factor,
          entries + half * 16 + (chunk * 8 + j) * 512,
        );
      }
    }
  }
}
