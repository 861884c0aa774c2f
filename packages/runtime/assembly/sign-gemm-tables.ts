// Entries of the sign GEMM for one block of inputs and up to 16 tokens: for each group of four inputs the 16 signed sums of
// every token, token by lane. Inputs are first rounded finely (a token's largest group sum fills 16 bits), then the sums are
// rounded once more to the token's step of the block: one coarse rounding a group instead of one an input halves the error.
import { GEMM_BLOCK, GEMM_LANES, SIGN_CHUNK, GEMM_LIMIT } from "../src/abi";
import { zipHigh16, zipHigh32, zipLow16, zipLow32 } from "./sign-tables";
import { sum } from "./simd";

/** Below this a block counts as zero: its step would overflow. */
const TINY: f32 = 1e-30;
/** f32 step of each lane, then the 16-bit factor that takes fine sums to that step. */
const FACTORS: usize = 64;
/** Bytes of a lane's finely rounded inputs. */
const ROW: usize = GEMM_BLOCK * 2;

// @ts-ignore: decorator
@inline
function scaled(x: usize, scale: usize, offset: usize): v128 {
  const v = v128.load(x + offset);
  return scale == 0 ? v : f32x4.mul(v, v128.load(scale + offset));
}

/** Eight inputs to 16-bit integers, nearest even: adding 1.5 * 2^23 leaves the integer in the low bits. */
// @ts-ignore: decorator
@inline
function quantise(x: usize, scale: usize, offset: usize, factor: v128): v128 {
  const magic = f32x4.splat(12582912.0), bits = i32x4.splat(0x4b400000);
  const a = i32x4.sub(f32x4.add(f32x4.mul(scaled(x, scale, offset), factor), magic), bits);
  const b = i32x4.sub(f32x4.add(f32x4.mul(scaled(x, scale, offset + 16), factor), magic), bits);
  return i16x8.narrow_i32x4_s(a, b);
}

/** Finely rounded inputs of one token, 16 bits each, to `out`; step and factor of its lane. */
function roundInputs(x: usize, scale: usize, chunks: i32, out: usize, steps: usize, lane: usize): void {
  let best = f32x4.splat(0), total = best;
  const end = <usize>chunks * (SIGN_CHUNK * 4);
  for (let at: usize = 0; at < end; at += SIGN_CHUNK * 4) {
    for (let half: usize = 0; half < 32; half += 16) {
      const o = at + half;
      let s = f32x4.add(f32x4.abs(scaled(x, scale, o)), f32x4.abs(scaled(x, scale, o + 32)));
      s = f32x4.add(s, f32x4.abs(scaled(x, scale, o + 64)));
      s = f32x4.add(s, f32x4.abs(scaled(x, scale, o + 96)));
      best = f32x4.max(best, s);
      total = f32x4.add(total, s);
    }
  }
  const largest = max(
    max(f32x4.extract_lane(best, 0), f32x4.extract_lane(best, 1)),
    max(f32x4.extract_lane(best, 2), f32x4.extract_lane(best, 3)),
  );
  const zero = !(largest > TINY);
  const fine: f32 = zero ? 0 : <f32>GEMM_LIMIT / largest;
  // All groups of the block together must fit 16 bits; half a unit for each rounded input is added.
  const factor = <i32>min<f32>(<f32>(GEMM_LIMIT * 32768) / (sum(total) * fine + <f32>(GEMM_BLOCK / 2)), 32767);
  store<f32>(steps + (lane << 2), zero ? 0 : (largest / <f32>GEMM_LIMIT) * (<f32>32768 / <f32>factor));
  store<i16>(steps + FACTORS + (lane << 1), <i16>factor);
  const fines = f32x4.splat(fine);
  for (let at: usize = 0; at < end; at += 32) {
    v128.store(out + (at >> 1), quantise(x, scale, at, fines));
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
  storePair(b0, c0, to);
  storePair(b1, c1, to + 64);
  storePair(b2, c2, to + 128);
  storePair(b3, c3, to + 192);
}

// @ts-ignore: decorator
@inline
function storePair(first: v128, second: v128, to: usize): void {
  v128.store(to, v128.shuffle<i64>(first, second, 0, 2));
  v128.store(to, v128.shuffle<i64>(first, second, 1, 3), 32);
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
 * `steps`. Lanes without a token are zero.
 *
 * @param room 2 * 16 * ROW bytes
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
  for (let lane = 0; lane < count; lane++) {
    roundInputs(x + <usize>lane * stride, scale, chunks, room + <usize>lane * ROW, steps, lane);
  }
  for (let lane = count; lane < GEMM_LANES; lane++) {
    memory.fill(room + <usize>lane * ROW, 0, ROW);
    store<f32>(steps + (<usize>lane << 2), 0);
    store<i16>(steps + FACTORS + (<usize>lane << 1), 0);
  }
  const lanes = room + <usize>GEMM_LANES * ROW;
  for (let half: usize = 0; half < 2; half++) {
    const factor = v128.load(steps + FACTORS + half * 16);
    for (let input: usize = 0; input < <usize>chunks * SIGN_CHUNK; input += 8) {
      transpose8(room + half * (8 * ROW) + input * 2, lanes + half * 16 + input * 32);
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
