// From the sums of the sign GEMM, tokens by lane, to rows of activations: transposed, scaled, added to what there is.
import {
  GEMM_LANES,
  ROW_PAD,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  W_DST,
  W_DST_STRIDE,
} from "../src/abi";
import { zipHigh32, zipLow32 } from "./sign-tables";
import { number, word } from "./words";

/** Four rows of one token: value * scale (+ dst) (+ bias) (+ residual), each of these an address or 0. */
// @ts-ignore: decorator
@inline
function finish(value: v128, scale: usize, before: usize, bias: usize, residual: usize, to: usize): void {
  let v = f32x4.mul(value, v128.load(scale));
  if (before != 0) v = f32x4.add(v, v128.load(before));
  if (bias != 0) v = f32x4.add(v, v128.load(bias));
  if (residual != 0) v = f32x4.add(v, v128.load(residual));
  v128.store(to, v);
}

/** Where row 4 `quarter` of a tile begins: rows 0, 4, 8, 12 are bytes 0, 8, 1, 9 of a vector of signs. */
// @ts-ignore: decorator
@inline
function quarterAt(quarter: usize): usize {
  return ((quarter >> 1) << 6) + ((quarter & 1) << 9);
}

/** One row tile of four tokens, a cache line of each, with nothing to add. */
function scaleTile(sums: usize, scale: usize, to: usize, stride: usize): void {
  const to1 = to + stride, to2 = to1 + stride, to3 = to2 + stride;
  for (let quarter: usize = 0; quarter < 4; quarter++) {
    const s = sums + quarterAt(quarter), row = quarter << 4, by = v128.load(scale + row);
    const r0 = v128.load(s), r1 = v128.load(s, 128), r2 = v128.load(s, 256), r3 = v128.load(s, 384);
    const a = zipLow32(r0, r1), b = zipLow32(r2, r3), c = zipHigh32(r0, r1), d = zipHigh32(r2, r3);
    v128.store(to + row, f32x4.mul(v128.shuffle<i64>(a, b, 0, 2), by));
    v128.store(to1 + row, f32x4.mul(v128.shuffle<i64>(a, b, 1, 3), by));
    v128.store(to2 + row, f32x4.mul(v128.shuffle<i64>(c, d, 0, 2), by));
    v128.store(to3 + row, f32x4.mul(v128.shuffle<i64>(c, d, 1, 3), by));
  }
}

// @ts-ignore: decorator
@inline
function moved(address: usize, by: usize): usize {
  return address == 0 ? 0 : address + by;
}

/** One row tile of up to four tokens. */
// prettier-ignore
function finishTile(sums: usize, scale: usize, before: usize, bias: usize, residual: usize, to: usize, stride: usize, count: i32): void {
  for (let quarter: usize = 0; quarter < 4; quarter++) {
    const s = sums + quarterAt(quarter), row = quarter << 4;
    const r0 = v128.load(s), r1 = v128.load(s, 128), r2 = v128.load(s, 256), r3 = v128.load(s, 384);
    const a = zipLow32(r0, r1), b = zipLow32(r2, r3), c = zipHigh32(r0, r1), d = zipHigh32(r2, r3);
    const at = scale + row, add = moved(bias, row);
    let by = row;
    finish(v128.shuffle<i64>(a, b, 0, 2), at, moved(before, by), add, moved(residual, by), to + by);
    if (count < 2) continue;
    by += stride;
    finish(v128.shuffle<i64>(a, b, 1, 3), at, moved(before, by), add, moved(residual, by), to + by);
    if (count < 3) continue;
    by += stride;
    finish(v128.shuffle<i64>(c, d, 0, 2), at, moved(before, by), add, moved(residual, by), to + by);
    if (count < 4) continue;
    by += stride;
    finish(v128.shuffle<i64>(c, d, 1, 3), at, moved(before, by), add, moved(residual, by), to + by);
  }
}

/**
 * Writes the row tiles [tile, tileEnd) of `count` tokens from `token` on; with the last tile also the padding of those rows.
 * Terms after the first are added; bias and residual come with the last.
 *
 * @param sums [row tile][byte of a vector of signs][lane]: byte 2 r is row r, byte 2 r + 1 row 8 + r
 */
export function finishRows(pc: usize, sums: usize, token: i32, count: i32, tile: i32, tileEnd: i32, term: i32, last: bool): void {
  const rows = number(pc, S_ROWS), scaleStride = (<usize>rows + ROW_PAD - 1) & ~(ROW_PAD - 1);
  const scale = word(pc, S_SCALE) + ((<usize>term * scaleStride) << 2), bias = last ? word(pc, S_BIAS) : 0;
  const residual = last ? word(pc, S_RESIDUAL) : 0, accumulate = term > 0 || number(pc, S_ACCUMULATE) != 0;
  const dst = word(pc, W_DST), stride = word(pc, W_DST_STRIDE) << 2, origin = <usize>token * stride;
  const plain = !accumulate && bias == 0 && residual == 0;
  for (; tile < tileEnd; tile++) {
    const offset = <usize>tile * (SIGN_ROW_TILE * 4);
    for (let lane = 0; lane < count; lane += 4) {
      const at = origin + <usize>lane * stride + offset, to = dst + at;
      if (plain && lane + 4 <= count) {
        scaleTile(sums + (<usize>lane << 2), scale + offset, to, stride);
        continue;
      }
      const before: usize = accumulate ? to : 0;
      // prettier-ignore
      finishTile(sums + (<usize>lane << 2), scale + offset, before, moved(bias, offset), moved(residual, at), to, stride, count - lane);
    }
    sums += SIGN_ROW_TILE * GEMM_LANES * 4;
  }
  if (tileEnd * SIGN_ROW_TILE == rows) {
    const pad = stride - (<usize>rows << 2);
    for (let lane = 0; lane < count; lane++) {
      memory.fill(dst + origin + <usize>lane * stride + (<usize>rows << 2), 0, pad);
    }
  }
}
