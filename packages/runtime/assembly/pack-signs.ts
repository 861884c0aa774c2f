// Signs as the file has them into the order that sign-product.ts reads (see there): 16 rows of the matrix a tile, 64 bytes for a
// chunk of 32 columns. Byte p of a row's chunk holds the codes of groups 2p and 2p + 1. Group j has columns j, 8 + j, 16 + j and
// 24 + j; its code is their bits, all flipped when the last one is set, with bit 3 = that last one.
import {
  L_DAMAGED,
  P_COLS,
  P_ROWS,
  P_TILE_BYTES,
  P_TRANSPOSED,
  SIGN_ROW_TILE,
  W_DST,
  W_SRC,
} from "../src/abi";
import { number, shareStart, word } from "./words";

/** Bytes of a chunk in a tile. */
const CHUNK_BYTES: usize = 64;

/** The four codes' bits of one group, `weight` = 1 for group 2p and 16 for group 2p + 1. Masks: all ones where the bit is set. */
// @ts-ignore: decorator
@inline
function code(b0: v128, b1: v128, b2: v128, b3: v128, weight: u8): v128 {
  return v128.or(
    v128.or(v128.and(v128.xor(b0, b3), i8x16.splat(weight)), v128.and(v128.xor(b1, b3), i8x16.splat(weight << 1))),
    v128.or(v128.and(v128.xor(b2, b3), i8x16.splat(weight << 2)), v128.and(b3, i8x16.splat(weight << 3))),
  );
}

/** Lanes of a tile from 16 bits at `address`: lane l takes bit l / 2 of byte l & 1, which is the row the lane stands for. */
// @ts-ignore: decorator
@inline
function lanes(address: usize, present: bool): v128 {
  const bits = i16x8(0x0101, 0x0202, 0x0404, 0x0808, 0x1010, 0x2020, 0x4040, <i16>0x8080);
  return present ? i8x16.eq(v128.and(v128.load16_splat(address), bits), bits) : i64x2.splat(0);
}

/** One tile's chunk from 32 stored rows that are its columns; those from `rows` on are not there and count as clear. */
function packColumns(src: usize, stride: usize, rows: i32, dst: usize): void {
  for (let p = 0; p < 4; p++) {
    const j = 2 * p;
    const at = src + <usize>j * stride;
    const low = code(
      lanes(at, j < rows),
      lanes(at + 8 * stride, j + 8 < rows),
      lanes(at + 16 * stride, j + 16 < rows),
      lanes(at + 24 * stride, j + 24 < rows),
      1,
    );
    const next = at + stride;
    const high = code(
      lanes(next, j + 1 < rows),
      lanes(next + 8 * stride, j + 9 < rows),
      lanes(next + 16 * stride, j + 17 < rows),
      lanes(next + 24 * stride, j + 25 < rows),
      16,
    );
    v128.store(dst + (<usize>p << 4), v128.or(low, high));
  }
}

/** Bit 8 k + j of a word to bit 4 j + k: the codes of its groups, low nibble first. */
// @ts-ignore: decorator
@inline
function codesOf(w: v128): v128 {
  // Bytes 0 to 2 are flipped by byte 3.
  const last = i32x4.shr_u(w, 24);
  let x = v128.xor(w, i32x4.mul(last, i32x4.splat(0x00010101)));
  // Bits are exchanged in squares: (8 k + j) is (k1 k0 j2 j1 j0) and becomes (j2 j1 j0 k1 k0), a rotation by two.
  x = shuffleBits(x);
  return shuffleBits(x);
}

/** Bit (b4 b3 b2 b1 b0) to (b3 b2 b1 b0 b4): the upper half of the bits between those of the lower half. */
// @ts-ignore: decorator
@inline
function shuffleBits(v: v128): v128 {
  let x = exchange(v, 8, 0x0000ff00);
  x = exchange(x, 4, 0x00f000f0);
  x = exchange(x, 2, 0x0c0c0c0c);
  return exchange(x, 1, 0x22222222);
}

/** Exchanges the bits of `mask` with those `shift` above. */
// @ts-ignore: decorator
@inline
function exchange(v: v128, shift: i32, mask: i32): v128 {
  const t = v128.and(v128.xor(v, i32x4.shr_u(v, shift)), i32x4.splat(mask));
  return v128.xor(v128.xor(v, t), i32x4.shl(t, shift));
}

/** A tile from stored rows of `words` words; rows from `rows` on are not there and count as clear. */
function packRows(src: usize, words: i32, rows: i32, dst: usize): void {
  const stride = <usize>words << 2;
  for (let chunk = 0; chunk < words; chunk++) {
    for (let row = 0; row < SIGN_ROW_TILE; row += 4) {
      let v = i64x2.splat(0);
      const at = src + <usize>row * stride + (<usize>chunk << 2);
      if (row < rows) v = i32x4.replace_lane(v, 0, load<i32>(at));
      if (row + 1 < rows) v = i32x4.replace_lane(v, 1, load<i32>(at + stride));
      if (row + 2 < rows) v = i32x4.replace_lane(v, 2, load<i32>(at + 2 * stride));
      if (row + 3 < rows) v = i32x4.replace_lane(v, 3, load<i32>(at + 3 * stride));
      v = codesOf(v);
      // Byte p of row r goes to lane (r < 8 ? 2 r : 2 (r - 8) + 1) of vector p.
      const first = <usize>(row < 8 ? 2 * row : 2 * (row - 8) + 1);
      const to = dst + <usize>chunk * CHUNK_BYTES + first;
      for (let lane: usize = 0; lane < 4; lane++) {
        const codes = i32x4.extract_lane(v, 0);
        store<u8>(to + 2 * lane, codes);
        store<u8>(to + 2 * lane + 16, codes >>> 8);
        store<u8>(to + 2 * lane + 32, codes >>> 16);
        store<u8>(to + 2 * lane + 48, codes >>> 24);
        v = v128.shuffle<i32>(v, v, 1, 2, 3, 0);
      }
    }
  }
}

/** Whether the bits beyond `cols` are clear in rows [begin, end). */
function paddingIsClear(src: usize, words: i32, cols: i32, begin: i32, end: i32): bool {
  if ((cols & 31) == 0) return true;
  const stride = <usize>words << 2;
  let set = 0;
  for (let row = begin; row < end; row++) set |= load<i32>(src + <usize>(row + 1) * stride - 4);
  return set >>> (cols & 31) == 0;
}

export function packSigns(pc: usize, thread: i32, threads: i32): void {
  const src = word(pc, W_SRC), dst = word(pc, W_DST), tileBytes = word(pc, P_TILE_BYTES);
  const rows = number(pc, P_ROWS), cols = number(pc, P_COLS), words = (cols + 31) >>> 5;
  if (!paddingIsClear(src, words, cols, shareStart(rows, thread, threads), shareStart(rows, thread + 1, threads))) {
    store<i32>(pc + (L_DAMAGED << 2), 1);
  }
  if (number(pc, P_TRANSPOSED) == 0) {
    const tiles = (rows + SIGN_ROW_TILE - 1) / SIGN_ROW_TILE, end = shareStart(tiles, thread + 1, threads);
    for (let tile = shareStart(tiles, thread, threads); tile < end; tile++) {
      const row = tile * SIGN_ROW_TILE;
      packRows(src + ((<usize>row * words) << 2), words, rows - row, dst + <usize>tile * tileBytes);
    }
    return;
  }
  const stride = <usize>words << 2, chunks = (rows + 31) >>> 5;
  const tiles = (cols + SIGN_ROW_TILE - 1) / SIGN_ROW_TILE, end = shareStart(tiles, thread + 1, threads);
  for (let tile = shareStart(tiles, thread, threads); tile < end; tile++) {
    for (let chunk = 0; chunk < chunks; chunk++) {
      const at = src + ((<usize>chunk * stride) << 5) + (<usize>tile << 1);
      packColumns(at, stride, rows - (chunk << 5), dst + <usize>tile * tileBytes + <usize>chunk * CHUNK_BYTES);
    }
  }
}
