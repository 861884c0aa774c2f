// y = W x (* row scale) (+ bias) (+ residual) for a dense W of any stored dtype and f32 x.
// Four rows at a time, one vector accumulator for each (row, token): the sum of one output has the same order whether tokens
// come one by one or in a tile, and whatever thread computes it. For several tokens the four rows are widened once.
import {
  CTRL_HEAD_FIRST,
  DENSE_ROW_TILE,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
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
import { codes, codesHigh, codesLow, high, low, raw, stepBytes, wideHigh, wideLow } from "./matrix";
import { madd, sums } from "./simd";
import { number, scratch, shareStart, tokens, word } from "./words";

/** Products of four rows with one x. */
// @ts-ignore: decorator
@inline
function dot4(dtype: i32, w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  let w1 = w + rowBytes, w2 = w1 + rowBytes, w3 = w2 + rowBytes;
  const end = x + (<usize>cols << 2);
  while (x < end) {
    const x0 = v128.load(x), x1 = v128.load(x, 16);
    const r0 = raw(dtype, w), r1 = raw(dtype, w1), r2 = raw(dtype, w2), r3 = raw(dtype, w3);
    a = madd(low(dtype, r0), x0, a);
    b = madd(low(dtype, r1), x0, b);
    c = madd(low(dtype, r2), x0, c);
    d = madd(low(dtype, r3), x0, d);
    a = madd(high(dtype, r0, w), x1, a);
    b = madd(high(dtype, r1, w1), x1, b);
    c = madd(high(dtype, r2, w2), x1, c);
    d = madd(high(dtype, r3, w3), x1, d);
    x += 32;
    w += stepBytes(dtype);
    w1 += stepBytes(dtype);
    w2 += stepBytes(dtype);
    w3 += stepBytes(dtype);
  }
  return sums(a, b, c, d);
}

function dot4F32(w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_F32, w, rowBytes, x, cols);
}
function dot4F16(w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_F16, w, rowBytes, x, cols);
}
function dot4Bf16(w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_BF16, w, rowBytes, x, cols);
}
function dot4I8(w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  return dot4(DTYPE_I8, w, rowBytes, x, cols);
}

/** Adds sixteen products of a row of 4-bit codes. */
// @ts-ignore: decorator
@inline
function codeProducts(at: usize, x0: v128, x1: v128, x2: v128, x3: v128, sum: v128): v128 {
  const code = codes(at), first = codesLow(code), second = codesHigh(code);
  sum = madd(wideLow(first), x0, sum);
  sum = madd(wideHigh(first), x1, sum);
  sum = madd(wideLow(second), x2, sum);
  return madd(wideHigh(second), x3, sum);
}

function dot4I4(w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  let w1 = w + rowBytes, w2 = w1 + rowBytes, w3 = w2 + rowBytes;
  for (let end = x + (<usize>cols << 2); x < end; x += 64) {
    const x0 = v128.load(x), x1 = v128.load(x, 16), x2 = v128.load(x, 32), x3 = v128.load(x, 48);
    a = codeProducts(w, x0, x1, x2, x3, a);
    b = codeProducts(w1, x0, x1, x2, x3, b);
    c = codeProducts(w2, x0, x1, x2, x3, c);
    d = codeProducts(w3, x0, x1, x2, x3, d);
    w += 8;
    w1 += 8;
    w2 += 8;
    w3 += 8;
  }
  return sums(a, b, c, d);
}

function product(dtype: i32, w: usize, rowBytes: usize, x: usize, cols: i32): v128 {
  switch (dtype) {
    case DTYPE_F32:
      return dot4F32(w, rowBytes, x, cols);
    case DTYPE_F16:
      return dot4F16(w, rowBytes, x, cols);
    case DTYPE_BF16:
      return dot4Bf16(w, rowBytes, x, cols);
    case DTYPE_I8:
      return dot4I8(w, rowBytes, x, cols);
    default:
      return dot4I4(w, rowBytes, x, cols);
  }
}

/** Four f32 rows times two x; the products go to `out` (8 floats: four rows of the first x, four of the second). */
function dot4x2(w: usize, rowBytes: usize, x: usize, y: usize, cols: i32, out: usize): void {
  let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  let w1 = w + rowBytes, w2 = w1 + rowBytes, w3 = w2 + rowBytes;
  const end = x + (<usize>cols << 2);
  while (x < end) {
    let x0 = v128.load(x), y0 = v128.load(y);
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
    x0 = v128.load(x, 16);
    y0 = v128.load(y, 16);
    r = v128.load(w, 16);
    a = madd(r, x0, a);
    e = madd(r, y0, e);
    r = v128.load(w1, 16);
    b = madd(r, x0, b);
    f = madd(r, y0, f);
    r = v128.load(w2, 16);
    c = madd(r, x0, c);
    g = madd(r, y0, g);
    r = v128.load(w3, 16);
    d = madd(r, x0, d);
    h = madd(r, y0, h);
    x += 32;
    y += 32;
    w += 32;
    w1 += 32;
    w2 += 32;
    w3 += 32;
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

function widenCodes(w: usize, out: usize, cols: i32): void {
  for (let end = out + (<usize>cols << 2); out < end; out += 64) {
    const code = codes(w), first = codesLow(code), second = codesHigh(code);
    v128.store(out, wideLow(first));
    v128.store(out, wideHigh(first), 16);
    v128.store(out, wideLow(second), 32);
    v128.store(out, wideHigh(second), 48);
    w += 8;
  }
}

/** One row of any dtype to f32. Row scales are not applied. */
export function widen(dtype: i32, w: usize, out: usize, cols: i32): void {
  switch (dtype) {
    case DTYPE_F32:
      widenRow(DTYPE_F32, w, out, cols);
      break;
    case DTYPE_F16:
      widenRow(DTYPE_F16, w, out, cols);
      break;
    case DTYPE_BF16:
      widenRow(DTYPE_BF16, w, out, cols);
      break;
    case DTYPE_I8:
      widenRow(DTYPE_I8, w, out, cols);
      break;
    default:
      widenCodes(w, out, cols);
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

export function dense(pc: usize, thread: i32, threads: i32): void {
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
      if (token < last) finish(pc, dot4F32(w, wideBytes, src + <usize>token * srcStride, cols), row, token);
    } else if (token < last) {
      finish(pc, product(dtype, w, rowBytes, src + <usize>token * srcStride, cols), row, token);
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
