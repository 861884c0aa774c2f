// y = scale o (S x) from the tables of x: 16 rows at a time.
// Packed signs: for every 16 rows a stream of 16-byte vectors, four a chunk of 32 inputs; byte lane l holds row
// (l even: l / 2, odd: 8 + (l - 1) / 2), low nibble = group 2p, high nibble = group 2p + 1 of the chunk.
// Several terms are sums over the same signs with scales of their own: their tables lie side by side, and so many row tiles as
// stay in the second cache go through all terms before the next ones are read. Tables of a term fit the first cache, those of
// all terms do not, which is why terms are not taken tile by tile.
import {
  LUT12,
  LUT8,
  ROW_PAD,
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
  S_TERMS,
  S_TERM_BYTES,
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
import { INPUT_ROOM, otherRow, termTables } from "./sign-tables";
import { number, scratch, tokens, word } from "./words";

/** Bytes of sixteen sums. */
const SUM_BYTES: usize = 64;
/** Signs that all terms take before the next ones are read: half the second cache of small cores. */
const BATCH_BYTES: i32 = 262144;

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

/** Sixteen sums times their scale to `dst`. */
// @ts-ignore: decorator
@inline
function scaleTile(acc: usize, scale: usize, dst: usize): void {
  v128.store(dst, f32x4.mul(v128.load(acc), v128.load(scale)));
  v128.store(dst, f32x4.mul(v128.load(acc, 16), v128.load(scale, 16)), 16);
  v128.store(dst, f32x4.mul(v128.load(acc, 32), v128.load(scale, 32)), 32);
  v128.store(dst, f32x4.mul(v128.load(acc, 48), v128.load(scale, 48)), 48);
}

/** The same, added to what is there. */
// @ts-ignore: decorator
@inline
function addTile(acc: usize, scale: usize, dst: usize): void {
  v128.store(dst, f32x4.add(f32x4.mul(v128.load(acc), v128.load(scale)), v128.load(dst)));
  v128.store(dst, f32x4.add(f32x4.mul(v128.load(acc, 16), v128.load(scale, 16)), v128.load(dst, 16)), 16);
  v128.store(dst, f32x4.add(f32x4.mul(v128.load(acc, 32), v128.load(scale, 32)), v128.load(dst, 32)), 32);
  v128.store(dst, f32x4.add(f32x4.mul(v128.load(acc, 48), v128.load(scale, 48)), v128.load(dst, 48)), 48);
}

// @ts-ignore: decorator
@inline
function moved(address: usize, by: usize): usize {
  return address == 0 ? 0 : address + by;
}

/** Sixteen sums times their scale, and what lies at three other places (or nowhere: 0) added one after the other, to `dst`. */
function finishTile(acc: usize, scale: usize, before: usize, bias: usize, residual: usize, dst: usize): void {
  let v0 = f32x4.mul(v128.load(acc), v128.load(scale)), v1 = f32x4.mul(v128.load(acc, 16), v128.load(scale, 16));
  let v2 = f32x4.mul(v128.load(acc, 32), v128.load(scale, 32)), v3 = f32x4.mul(v128.load(acc, 48), v128.load(scale, 48));
  let more = before;
  for (let term = 0; term < 3; term++) {
    if (more != 0) {
      v0 = f32x4.add(v0, v128.load(more));
      v1 = f32x4.add(v1, v128.load(more, 16));
      v2 = f32x4.add(v2, v128.load(more, 32));
      v3 = f32x4.add(v3, v128.load(more, 48));
    }
    more = term == 0 ? bias : residual;
  }
  v128.store(dst, v0);
  v128.store(dst, v1, 16);
  v128.store(dst, v2, 32);
  v128.store(dst, v3, 48);
}

/** Floats from the scales of a term to those of the next. */
// @ts-ignore: decorator
@inline
function scaleStride(pc: usize): usize {
  return (word(pc, S_ROWS) + ROW_PAD - 1) & ~(ROW_PAD - 1);
}

/**
 * Row tiles [tile, end) of one term of one token; `at` is where its row of dst begins, in bytes from dst. Bias and residual
 * come with the last term.
 */
function rowTiles(pc: usize, tables: usize, tile: i32, end: i32, at: usize, acc: usize, term: i32, last: bool): void {
  const cols = number(pc, S_COLS), precision = number(pc, S_PRECISION), bytes = <usize>cols * 2;
  let row = <usize>tile * (SIGN_ROW_TILE * 4), w = word(pc, S_WEIGHTS) + <usize>tile * bytes;
  const scales = word(pc, S_SCALE) + ((<usize>term * scaleStride(pc)) << 2), dst = word(pc, W_DST) + at;
  const accumulate: bool = term > 0 || number(pc, S_ACCUMULATE) != 0;
  const bias: usize = last ? word(pc, S_BIAS) : 0, residual: usize = last ? moved(word(pc, S_RESIDUAL), at) : 0;
  // Branches of the common cases are the same for all tiles: mispredicted, one would cost as much as the tile's arithmetic here.
  const plain = bias == 0 && residual == 0;
  for (const rowEnd = <usize>end * (SIGN_ROW_TILE * 4); row < rowEnd; row += SIGN_ROW_TILE * 4) {
    tileSums(precision, w, tables, cols, acc);
    const to = dst + row;
    if (plain) {
      if (accumulate) addTile(acc, scales + row, to);
      else scaleTile(acc, scales + row, to);
    } else {
      finishTile(acc, scales + row, accumulate ? to : 0, moved(bias, row), moved(residual, row), to);
    }
    w += bytes;
  }
}

/** As rowTiles, all terms. */
function termTiles(pc: usize, tables: usize, tile: i32, end: i32, at: usize, acc: usize): void {
  const terms = number(pc, S_TERMS);
  if (terms <= 1) {
    rowTiles(pc, tables, tile, end, at, acc, 0, true);
    return;
  }
  const batch = max(1, BATCH_BYTES / (number(pc, S_COLS) * 2)), bytes = word(pc, S_TERM_BYTES);
  for (; tile < end; tile += batch) {
    const to = min(tile + batch, end);
    for (let term = 0; term < terms; term++) {
      rowTiles(pc, tables + <usize>term * bytes, tile, to, at, acc, term, term == terms - 1);
    }
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
  if (count == 1) termTiles(pc, word(pc, W_SRC), begin, end, 0, acc);
  // A tile's signs are read once for all tokens: they stay in the nearest cache.
  else for (let tile = begin; tile < end; tile++) {
    for (let token = 0; token < count; token++) {
      const tables = word(pc, W_SRC) + <usize>token * word(pc, W_SRC_STRIDE);
      termTiles(pc, tables, tile, tile + 1, (<usize>token * word(pc, W_DST_STRIDE)) << 2, acc);
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
      termTables(pc, x, otherRow(pc, token), word(pc, S_IN_SCALE), cols, number(pc, S_TERMS), word(pc, S_TERM_BYTES), tables, room);
      termTiles(pc, tables, begin, end, (<usize>token * word(pc, W_DST_STRIDE)) << 2, acc);
    }
  }
  clearPadding(pc, thread, threads);
}
