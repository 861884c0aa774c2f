// y = W x (* row scale) (+ bias) (+ residual) for a dense W of any stored dtype and f32 x.
// Four rows at a time, one vector accumulator for each (row, token): the sum of one output has the same order whether tokens
// come one by one or in a tile, and whatever thread computes it. For several tokens the four rows are widened once.
import {
  CTRL_HEAD_FIRST,
  CTRL_SHORTLIST,
  DENSE_ROW_TILE,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  DTYPE_I2,
  DTYPE_I4,
  DTYPE_I8,
  M_BIAS,
  M_COLS,
  M_DTYPE,
  M_HEAD_ONLY,
  M_RESIDUAL,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { fourRows } from "./dense-rows";
import { widenHalves } from "./half";
import { codesHigh, codesLow, codesOf, high, low, raw, stepBytes, wideHigh, wideLow } from "./matrix";
import { madd, sums } from "./simd";
import { number, scratch, shareStart, tokens, word } from "./words";

/**
 * Four f32 rows times two x; the products go to `out` (8 floats: four rows of the first x, four of the second).
 * One step of four columns a turn: V8 loads everything that a turn reads before it multiplies, and the operands of two steps
 * leave no register for the sums (half the speed).
 */
export function dot4x2(w: usize, rowBytes: usize, x: usize, y: usize, cols: i32, out: usize): void {
  let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  let w1 = w + rowBytes, w2 = w1 + rowBytes, w3 = w2 + rowBytes;
  const end = x + (<usize>cols << 2);
  while (x < end) {
    const x0 = v128.load(x), y0 = v128.load(y);
    let r = v128.load(w);
    a = madd(r, x0, a);
    e = madd(r, y0, e);
    r = v128.load(w1);
    b = madd(r, x0, b);
    f = madd(r, y0, f);
    r = v128.load(w2);
    c = madd(r, x0, c);
    g = madd(r, y0, g);
    r = v128.load(w3);
    d = madd(r, x0, d);
    h = madd(r, y0, h);
    x += 16;
    y += 16;
    w += 16;
    w1 += 16;
    w2 += 16;
    w3 += 16;
  }
  v128.store(out, sums(a, b, c, d));
  v128.store(out, sums(e, f, g, h), 16);
}

// @ts-ignore: decorator
@inline
function widenRow(dtype: i32, w: usize, out: usize, cols: i32): void {
  const end = out + (<usize>cols << 2);
  while (out < end) {
    const r = raw(dtype, w);
    v128.store(out, low(dtype, r));
    v128.store(out, high(dtype, r, w), 16);
    out += 32;
    w += stepBytes(dtype);
  }
}

// @ts-ignore: decorator
@inline
function widenCodes(dtype: i32, w: usize, out: usize, cols: i32): void {
  for (let end = out + (<usize>cols << 2); out < end; out += 64) {
    const code = codesOf(dtype, w), first = codesLow(dtype, code), second = codesHigh(dtype, code);
    v128.store(out, wideLow(first));
    v128.store(out, wideHigh(first), 16);
    v128.store(out, wideLow(second), 32);
    v128.store(out, wideHigh(second), 48);
    w += dtype == DTYPE_I2 ? 4 : 8;
  }
}

/** One row of any dtype to f32. Row scales are not applied. */
export function widen(dtype: i32, w: usize, out: usize, cols: i32): void {
  switch (dtype) {
    case DTYPE_F32:
      widenRow(DTYPE_F32, w, out, cols);
      break;
    case DTYPE_F16:
      widenHalves(w, out, cols);
      break;
    case DTYPE_BF16:
      widenRow(DTYPE_BF16, w, out, cols);
      break;
    case DTYPE_I8:
      widenRow(DTYPE_I8, w, out, cols);
      break;
    case DTYPE_I4:
      widenCodes(DTYPE_I4, w, out, cols);
      break;
    default:
      widenCodes(DTYPE_I2, w, out, cols);
  }
}

// @ts-ignore: decorator
@inline
function finish(pc: usize, value: v128, row: i32, token: i32): void {
  const at = (<usize>token * word(pc, W_DST_STRIDE) + <usize>row) << 2;
  const scales = word(pc, M_ROW_SCALES), bias = word(pc, M_BIAS), residual = word(pc, M_RESIDUAL);
  if (scales != 0) value = f32x4.mul(value, v128.load(scales + (<usize>row << 2)));
  if (bias != 0) value = f32x4.add(value, v128.load(bias + (<usize>row << 2)));
  if (residual != 0) value = f32x4.add(value, v128.load(residual + at));
  v128.store(word(pc, W_DST) + at, value);
}

/**
 * Loads a word of each cache line, so that what is read next comes from memory while this is computed. A fifth faster for 8-bit
 * rows; 16-bit ones are as fast as memory without it (and slower with it), 4 and 2-bit ones are slower than memory.
 */
function touch(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 64) load<i32>(at);
}

export function dense(pc: usize, thread: i32, threads: i32): void {
  // Where only the largest logits are wanted, sketch-estimate.ts and sketch-rescore.ts find them.
  if (number(pc, M_HEAD_ONLY) != 0 && load<i32>(CTRL_SHORTLIST) != 0) return;
  const dtype = number(pc, M_DTYPE), cols = number(pc, M_COLS), rows = number(pc, M_ROWS);
  const src = word(pc, W_SRC), srcStride = word(pc, W_SRC_STRIDE) << 2;
  const rowBytes = word(pc, M_ROW_BYTES), weights = word(pc, M_WEIGHTS);
  const first = number(pc, M_HEAD_ONLY) != 0 ? load<i32>(CTRL_HEAD_FIRST) : 0, last = tokens();
  const tiles = (rows + DENSE_ROW_TILE - 1) / DENSE_ROW_TILE;
  const tileEnd = shareStart(tiles, thread + 1, threads);
  const room = scratch(thread);
  const pair = room + ((<usize>cols * DENSE_ROW_TILE) << 2);
  for (let tile = shareStart(tiles, thread, threads); tile < tileEnd; tile++) {
    const row = tile * DENSE_ROW_TILE;
    let w = weights + <usize>row * rowBytes;
    let token = first;
    if (last - first >= 2) {
      let wideBytes = rowBytes;
      if (dtype != DTYPE_F32) {
        wideBytes = <usize>cols << 2;
        for (let r: usize = 0; r < <usize>DENSE_ROW_TILE; r++) widen(dtype, w + r * rowBytes, room + r * wideBytes, cols);
        w = room;
      }
      for (; token + 1 < last; token += 2) {
        const x = src + <usize>token * srcStride;
        dot4x2(w, wideBytes, x, x + srcStride, cols, pair);
        finish(pc, v128.load(pair), row, token);
        finish(pc, v128.load(pair, 16), row, token + 1);
      }
      if (token < last) finish(pc, fourRows(DTYPE_F32, w, w + wideBytes, w + 2 * wideBytes, w + 3 * wideBytes, src + <usize>token * srcStride, cols), row, token);
    } else if (token < last) {
      if (dtype == DTYPE_I8 && tile + 1 < tileEnd) touch(w + DENSE_ROW_TILE * rowBytes, DENSE_ROW_TILE * rowBytes);
      finish(pc, fourRows(dtype, w, w + rowBytes, w + 2 * rowBytes, w + 3 * rowBytes, src + <usize>token * srcStride, cols), row, token);
    }
  }
  if (thread == threads - 1) {
    const padded = tiles * DENSE_ROW_TILE;
    const pad = word(pc, W_DST_STRIDE) - <usize>padded;
    for (let token = first; token < last; token++) {
      memory.fill(word(pc, W_DST) + ((<usize>token * word(pc, W_DST_STRIDE) + <usize>padded) << 2), 0, pad << 2);
    }
  }
}
