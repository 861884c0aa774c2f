// y = scale o (S x) from the tables of x: 16 rows at a time, 4-bit codes of signs as shuffle indices.
// Packed signs: for every 16 rows a stream of 16-byte vectors, four a chunk of 32 inputs; byte lane l holds row
// (l even: l / 2, odd: 8 + (l - 1) / 2), low nibble = group 2p, high nibble = group 2p + 1 of the chunk.
import {
  CTRL_NIBBLE_MASK,
  SIGN_BLOCK,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { lookup } from "./simd";
import { number, scratch, shareStart, tokens, word } from "./words";

// @ts-ignore: decorator
@inline
function flush(low: v128, high: v128, offset: v128, step: v128, acc: usize): void {
  const sum = i32x4.sub(i32x4.add(i32x4.shl(high, 6), low), offset);
  v128.store(acc, f32x4.add(v128.load(acc), f32x4.mul(f32x4.convert_i32x4_s(sum), step)));
}

/** acc[16] += step * (16 rows of signs times the quantised inputs of one block of `chunks` chunks). */
export function signBlock(w: usize, table: usize, chunks: i32, step: f32, acc: usize): void {
  const mask = v128.load(CTRL_NIBBLE_MASK);
  // Sums of bytes: `raw` adds them as 16-bit pairs and may wrap, `odd` adds the upper byte of each pair.
  let rawLow = i64x2.splat(0), oddLow = rawLow, rawHigh = rawLow, oddHigh = rawLow;
  for (let end = w + <usize>chunks * 64; w < end; w += 64) {
    let w0 = v128.load(w), w1 = v128.load(w, 16);
    let i0 = v128.and(w0, mask), i1 = v128.and(i16x8.shr_u(w0, 4), mask);
    let i2 = v128.and(w1, mask), i3 = v128.and(i16x8.shr_u(w1, 4), mask);
    let s = i8x16.add(
      i8x16.add(lookup(v128.load(table), i0), lookup(v128.load(table, 32), i1)),
      i8x16.add(lookup(v128.load(table, 64), i2), lookup(v128.load(table, 96), i3)),
    );
    rawLow = i16x8.add(rawLow, s);
    oddLow = i16x8.add(oddLow, i16x8.shr_u(s, 8));
    s = i8x16.add(
      i8x16.add(lookup(v128.load(table, 16), i0), lookup(v128.load(table, 48), i1)),
      i8x16.add(lookup(v128.load(table, 80), i2), lookup(v128.load(table, 112), i3)),
    );
    rawHigh = i16x8.add(rawHigh, s);
    oddHigh = i16x8.add(oddHigh, i16x8.shr_u(s, 8));

    w0 = v128.load(w, 32);
    w1 = v128.load(w, 48);
    i0 = v128.and(w0, mask);
    i1 = v128.and(i16x8.shr_u(w0, 4), mask);
    i2 = v128.and(w1, mask);
    i3 = v128.and(i16x8.shr_u(w1, 4), mask);
    s = i8x16.add(
      i8x16.add(lookup(v128.load(table, 128), i0), lookup(v128.load(table, 160), i1)),
      i8x16.add(lookup(v128.load(table, 192), i2), lookup(v128.load(table, 224), i3)),
    );
    rawLow = i16x8.add(rawLow, s);
    oddLow = i16x8.add(oddLow, i16x8.shr_u(s, 8));
    s = i8x16.add(
      i8x16.add(lookup(v128.load(table, 144), i0), lookup(v128.load(table, 176), i1)),
      i8x16.add(lookup(v128.load(table, 208), i2), lookup(v128.load(table, 240), i3)),
    );
    rawHigh = i16x8.add(rawHigh, s);
    oddHigh = i16x8.add(oddHigh, i16x8.shr_u(s, 8));
    table += 256;
  }
  const evenLow = i16x8.sub(rawLow, i16x8.shl(oddLow, 8)), evenHigh = i16x8.sub(rawHigh, i16x8.shl(oddHigh, 8));
  const offset = i32x4.splat(chunks * 8 * 2048), steps = f32x4.splat(step);
  flush(i32x4.extend_low_i16x8_u(evenLow), i32x4.extend_low_i16x8_u(evenHigh), offset, steps, acc);
  flush(i32x4.extend_high_i16x8_u(evenLow), i32x4.extend_high_i16x8_u(evenHigh), offset, steps, acc + 16);
  flush(i32x4.extend_low_i16x8_u(oddLow), i32x4.extend_low_i16x8_u(oddHigh), offset, steps, acc + 32);
  flush(i32x4.extend_high_i16x8_u(oddLow), i32x4.extend_high_i16x8_u(oddHigh), offset, steps, acc + 48);
}

export function signProduct(pc: usize, thread: i32, threads: i32): void {
  const rows = number(pc, S_ROWS), cols = number(pc, S_COLS), count = tokens();
  const scale = word(pc, S_SCALE), bias = word(pc, S_BIAS), residual = word(pc, S_RESIDUAL);
  const dst = word(pc, W_DST), stride = word(pc, W_DST_STRIDE), accumulate = number(pc, S_ACCUMULATE);
  const blocks = (cols + SIGN_BLOCK - 1) / SIGN_BLOCK, tileBytes = <usize>cols * 2;
  const tiles = rows / SIGN_ROW_TILE, tileEnd = shareStart(tiles, thread + 1, threads);
  const acc = scratch(thread);
  for (let tile = shareStart(tiles, thread, threads); tile < tileEnd; tile++) {
    const row = <usize>tile * (SIGN_ROW_TILE * 4);
    const w = word(pc, S_WEIGHTS) + <usize>tile * tileBytes;
    for (let token = 0; token < count; token++) {
      const tables = word(pc, W_SRC) + <usize>token * word(pc, W_SRC_STRIDE);
      const steps = tables + <usize>cols * TABLE_BYTES_PER_INPUT;
      for (let i: usize = 0; i < 64; i += 16) v128.store(acc + i, f32x4.splat(0));
      for (let block = 0; block < blocks; block++) {
        const first = block * SIGN_BLOCK;
        signBlock(
          w + <usize>first * 2,
          tables + <usize>first * TABLE_BYTES_PER_INPUT,
          min(SIGN_BLOCK, cols - first) / SIGN_CHUNK,
          load<f32>(steps + (<usize>block << 2)),
          acc,
        );
      }
      const at = row + ((<usize>token * stride) << 2);
      for (let i: usize = 0; i < 64; i += 16) {
        let v = f32x4.mul(v128.load(acc + i), v128.load(scale + row + i));
        if (accumulate != 0) v = f32x4.add(v, v128.load(dst + at + i));
        if (bias != 0) v = f32x4.add(v, v128.load(bias + row + i));
        if (residual != 0) v = f32x4.add(v, v128.load(residual + at + i));
        v128.store(dst + at + i, v);
      }
    }
  }
  if (thread == threads - 1) {
    const pad = (stride - <usize>rows) << 2;
    for (let token = 0; token < count; token++) {
      memory.fill(dst + ((<usize>token * stride + <usize>rows) << 2), 0, pad);
    }
  }
}
