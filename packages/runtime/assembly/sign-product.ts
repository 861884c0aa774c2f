// y = scale o (S x) from the tables of x: 16 rows at a time.
// Packed signs: for every 16 rows a stream of 16-byte vectors, four a chunk of 32 inputs; byte lane l holds row
// (l even: l / 2, odd: 8 + (l - 1) / 2), low nibble = group 2p, high nibble = group 2p + 1 of the chunk.
import {
  LUT12,
  LUT8,
  SHARE_UNITS,
  SIGN_BLOCK,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_IN_SCALE,
  S_PRECISION,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  S_SHARE,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { signBlock12 } from "./sign-lut12";
import { signBlock16 } from "./sign-lut16";
import { signBlock8 } from "./sign-lut8";
import { INPUT_ROOM, otherRow, rowTables } from "./sign-tables";
import { number, scratch, tokens, word } from "./words";

/** Bytes of sixteen sums. */
const SUM_BYTES: usize = 64;

/** First of `tiles` row tiles that belongs to `thread`: its part of the threads' line cut by the instruction's share. */
function firstTile(pc: usize, tiles: i32, thread: i32, threads: i32): i32 {
  const share = number(pc, S_SHARE);
  const from = share == 0 ? 0 : share >>> 16, to = share == 0 ? SHARE_UNITS : share & 0xffff;
  const begin = (SHARE_UNITS * thread) / threads;
  if (begin <= from) return 0;
  if (begin >= to) return tiles;
  return (tiles * (begin - from) + ((to - from) >> 1)) / (to - from);
}

/** acc[16] = product of one row tile with the inputs whose tables these are. */
function tileSums(precision: i32, w: usize, tables: usize, cols: i32, acc: usize): void {
  const steps = tables + <usize>cols * TABLE_BYTES_PER_INPUT;
  for (let first = 0; first < cols; first += SIGN_BLOCK) {
    const weights = w + <usize>first * 2, table = tables + <usize>first * TABLE_BYTES_PER_INPUT;
    const chunks = min(SIGN_BLOCK, cols - first) / SIGN_CHUNK;
    const step = load<f32>(steps + ((<usize>first / SIGN_BLOCK) << 2));
    if (precision == LUT12) signBlock12(weights, table, chunks, step, acc, first == 0);
    else if (precision == LUT8) signBlock8(weights, table, chunks, step, acc, first == 0);
    else signBlock16(weights, table, chunks, step, acc, first == 0);
  }
}

/** Scale, earlier sum, bias and residual of one row tile. */
function finishTile(pc: usize, acc: usize, row: usize, at: usize): void {
  const scale = word(pc, S_SCALE) + row, dst = word(pc, W_DST) + at;
  let v0 = f32x4.mul(v128.load(acc), v128.load(scale)), v1 = f32x4.mul(v128.load(acc, 16), v128.load(scale, 16));
  let v2 = f32x4.mul(v128.load(acc, 32), v128.load(scale, 32)), v3 = f32x4.mul(v128.load(acc, 48), v128.load(scale, 48));
  let more = number(pc, S_ACCUMULATE) != 0 ? dst : 0;
  for (let term = 0; term < 3; term++) {
    if (more != 0) {
      v0 = f32x4.add(v0, v128.load(more));
      v1 = f32x4.add(v1, v128.load(more, 16));
      v2 = f32x4.add(v2, v128.load(more, 32));
      v3 = f32x4.add(v3, v128.load(more, 48));
    }
    const next = word(pc, term == 0 ? S_BIAS : S_RESIDUAL);
    more = next == 0 ? 0 : next + (term == 0 ? row : at);
  }
  v128.store(dst, v0);
  v128.store(dst, v1, 16);
  v128.store(dst, v2, 32);
  v128.store(dst, v3, 48);
}

/** Row tiles [tile, end) of one token; `at` is where its row of dst begins, in bytes from dst. */
function rowTiles(pc: usize, tables: usize, tile: i32, end: i32, at: usize, acc: usize): void {
  const cols = number(pc, S_COLS), precision = number(pc, S_PRECISION), bytes = <usize>cols * 2;
  let w = word(pc, S_WEIGHTS) + <usize>tile * bytes;
  for (let row = <usize>tile * (SIGN_ROW_TILE * 4), last = <usize>end * (SIGN_ROW_TILE * 4); row < last; row += SIGN_ROW_TILE * 4) {
    tileSums(precision, w, tables, cols, acc);
    finishTile(pc, acc, row, at + row);
    w += bytes;
  }
}

/** Zeros beyond the rows; by the last thread. */
function clearPadding(pc: usize, thread: i32, threads: i32): void {
  if (thread != threads - 1) return;
  const stride = word(pc, W_DST_STRIDE), rows = word(pc, S_ROWS);
  for (let token: usize = 0; token < <usize>tokens(); token++) {
    memory.fill(word(pc, W_DST) + ((token * stride + rows) << 2), 0, (stride - rows) << 2);
  }
}

export function signProduct(pc: usize, thread: i32, threads: i32): void {
  const tiles = number(pc, S_ROWS) / SIGN_ROW_TILE, count = tokens(), acc = scratch(thread);
  const begin = firstTile(pc, tiles, thread, threads), end = firstTile(pc, tiles, thread + 1, threads);
  // A tile's signs are read once for all tokens: they stay in the nearest cache.
  for (let tile = begin; tile < end; tile++) {
    for (let token = 0; token < count; token++) {
      const tables = word(pc, W_SRC) + <usize>token * word(pc, W_SRC_STRIDE);
      rowTiles(pc, tables, tile, tile + 1, (<usize>token * word(pc, W_DST_STRIDE)) << 2, acc);
    }
  }
  clearPadding(pc, thread, threads);
}

/** Tables and product without a barrier between: every thread that has rows makes all tables for itself. */
export function signMultiply(pc: usize, thread: i32, threads: i32): void {
  const tiles = number(pc, S_ROWS) / SIGN_ROW_TILE, cols = number(pc, S_COLS), acc = scratch(thread);
  const begin = firstTile(pc, tiles, thread, threads), end = firstTile(pc, tiles, thread + 1, threads);
  const room = acc + SUM_BYTES, tables = room + INPUT_ROOM;
  if (begin < end) {
    for (let token = 0; token < tokens(); token++) {
      const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE)) << 2);
      rowTables(pc, x, otherRow(pc, token), word(pc, S_IN_SCALE), cols, tables, room);
      rowTiles(pc, tables, begin, end, (<usize>token * word(pc, W_DST_STRIDE)) << 2, acc);
    }
  }
  clearPadding(pc, thread, threads);
}
