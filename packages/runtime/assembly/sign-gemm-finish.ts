// From the sums of the sign GEMM, tokens by lane, to rows of activations: transposed, scaled, added to what there is.
import {
  GEMM_LANES,
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

/** Four rows of one token: value * scale (+ dst) (+ bias) (+ residual). */
// @ts-ignore: decorator
@inline
function finish(value: v128, scale: v128, bias: usize, residual: usize, accumulate: bool, at: usize): void {
  let v = f32x4.mul(value, scale);
  if (accumulate) v = f32x4.add(v, v128.load(at));
  if (bias != 0) v = f32x4.add(v, v128.load(bias));
  if (residual != 0) v = f32x4.add(v, v128.load(residual));
  v128.store(at, v);
}

/**
 * Writes the row tiles [tile, tileEnd) of `count` tokens from `token` on; with the last tile also the padding of those rows.
 *
 * @param sums [row tile][byte of a vector of signs][lane]: byte 2 r is row r, byte 2 r + 1 row 8 + r
 */
export function finishRows(pc: usize, sums: usize, token: i32, count: i32, tile: i32, tileEnd: i32): void {
  const rows = number(pc, S_ROWS), scale = word(pc, S_SCALE), bias = word(pc, S_BIAS);
  const residual = word(pc, S_RESIDUAL), accumulate = number(pc, S_ACCUMULATE) != 0;
  const dst = word(pc, W_DST), stride = word(pc, W_DST_STRIDE) << 2, origin = <usize>token * stride;
  for (let row = tile * SIGN_ROW_TILE; row < tileEnd * SIGN_ROW_TILE; row += 4) {
    const offset = <usize>row << 2, scales = v128.load(scale + offset);
    const biases: usize = bias == 0 ? 0 : bias + offset;
    // Rows 0, 4, 8, 12 of a tile are its bytes 0, 8, 1, 9.
    const within = row & 15, byte = within < 8 ? within << 1 : ((within - 8) << 1) + 1;
    let s = sums + (<usize>(((row >> 4) - tile) * SIGN_ROW_TILE + byte) * (GEMM_LANES * 4));
    for (let lane = 0; lane < count; lane += 4) {
      const r0 = v128.load(s), r1 = v128.load(s, 128), r2 = v128.load(s, 256), r3 = v128.load(s, 384);
      const a = zipLow32(r0, r1), b = zipLow32(r2, r3), c = zipHigh32(r0, r1), d = zipHigh32(r2, r3);
      const at = origin + <usize>lane * stride + offset;
      let to = dst + at, add: usize = residual == 0 ? 0 : residual + at;
      finish(v128.shuffle<i64>(a, b, 0, 2), scales, biases, add, accumulate, to);
      if (lane + 1 < count) {
        to += stride;
        if (residual != 0) add += stride;
        finish(v128.shuffle<i64>(a, b, 1, 3), scales, biases, add, accumulate, to);
      }
      if (lane + 2 < count) {
        to += stride;
        if (residual != 0) add += stride;
        finish(v128.shuffle<i64>(c, d, 0, 2), scales, biases, add, accumulate, to);
      }
      if (lane + 3 < count) {
        to += stride;
        if (residual != 0) add += stride;
        finish(v128.shuffle<i64>(c, d, 1, 3), scales, biases, add, accumulate, to);
      }
      s += 16;
    }
  }
  if (tileEnd * SIGN_ROW_TILE == rows) {
    const pad = stride - (<usize>rows << 2);
    for (let lane = 0; lane < count; lane++) {
      memory.fill(dst + origin + <usize>lane * stride + (<usize>rows << 2), 0, pad);
    }
  }
}
