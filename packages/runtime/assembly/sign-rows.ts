// Rows of a packed sign matrix for the ids of the tile, times their envelope: what an embedding of two factors multiplies its
// second factor with. A row's codes are one byte of each vector of its tile (sign-product.ts), so the table that the head
// multiplies with serves the lookup as well.
import {
  CTRL_TOKEN_IDS,
  R_COLS,
  R_MID,
  R_RANK,
  R_ROTATE,
  R_SCALE,
  R_SCALE_STRIDE,
  R_TERMS,
  R_WEIGHTS,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  W_DST,
  W_DST_STRIDE,
} from "../src/abi";
import { number, tokens, word } from "./words";

/** out[cols] = sum over terms of scale o mid: magnitudes of the row, before its signs. */
function magnitudes(pc: usize, id: usize, cols: i32, out: usize): void {
  const mid = word(pc, R_MID), terms = number(pc, R_TERMS), bytes = <usize>cols << 2;
  let scale = word(pc, R_SCALE) + (id << 2);
  for (let term = 0; term < terms; term++) {
    const by = v128.load32_splat(scale), row = mid + <usize>term * bytes;
    for (let i: usize = 0; i < bytes; i += 16) {
      let v = mid == 0 ? by : f32x4.mul(by, v128.load(row + i));
      if (term > 0) v = f32x4.add(v128.load(out + i), v);
      v128.store(out + i, v);
    }
    scale += word(pc, R_SCALE_STRIDE) << 2;
  }
}

/** Flips four floats where bits of their masks are set in the codes. */
// @ts-ignore: decorator
@inline
function flip(at: usize, codes: v128, bits: v128): void {
  const minus = i32x4.shl(i32x4.eq(v128.and(codes, bits), bits), 31);
  v128.store(at, v128.xor(v128.load(at), minus));
}

/** Gives the floats of one row their signs. `codes` is its byte in the first vector of its tile. */
function applySigns(codes: usize, cols: i32, out: usize): void {
  for (let end = out + (<usize>cols << 2); out < end; out += SIGN_CHUNK * 4) {
    let w: u32 = load<u8>(codes);
    w |= (<u32>load<u8>(codes, 16) << 8) | (<u32>load<u8>(codes, 32) << 16) | (<u32>load<u8>(codes, 48) << 24);
    codes += 64;
    // Nibble j is the code of columns j, 8 + j, 16 + j, 24 + j; its last bit flips the others.
    const last = w & 0x88888888;
    const bits = i32x4.splat(w ^ ((last >> 1) | (last >> 2) | (last >> 3)));
    let low = i32x4(0x1, 0x10, 0x100, 0x1000), high = i32x4(0x10000, 0x100000, 0x1000000, 0x10000000);
    for (let at = out, last = out + SIGN_CHUNK * 4; at < last; at += 32) {
      flip(at, bits, low);
      flip(at + 16, bits, high);
      low = i32x4.shl(low, 1);
      high = i32x4.shl(high, 1);
    }
  }
}

export function signRows(pc: usize, thread: i32, threads: i32): void {
  const cols = number(pc, R_COLS), rank = word(pc, R_RANK), stride = word(pc, W_DST_STRIDE);
  for (let token = (thread + number(pc, R_ROTATE)) % threads; token < tokens(); token += threads) {
    const id = load<usize>(<usize>CTRL_TOKEN_IDS + (<usize>token << 2));
    const out = word(pc, W_DST) + ((<usize>token * stride) << 2);
    magnitudes(pc, id, cols, out);
    const r = id & (SIGN_ROW_TILE - 1), lane = r < 8 ? 2 * r : 2 * r - 15;
    applySigns(word(pc, R_WEIGHTS) + (id >> 4) * (<usize>cols << 1) + lane, cols, out);
    memory.fill(out + (rank << 2), 0, (stride - rank) << 2);
  }
}
