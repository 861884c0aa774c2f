// The lut12 sign kernel; lut8 and lut16 are its siblings. 16 rows at a time, 4-bit codes of signs as shuffle indices.
import { CTRL_NIBBLE_MASK } from "../src/abi";
import { flushBytes, lookup } from "./simd";

/**
 * acc[16] (+)= step * (16 rows of signs times the quantised inputs of one block of `chunks` chunks).
 * @param first acc is written, not added to
 */
export function signBlock12(w: usize, table: usize, chunks: i32, step: f32, acc: usize, first: bool): void {
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
  const offset = i32x4.splat(chunks * 8 * 2048), steps = f32x4.splat(step);
  flushBytes(rawLow, oddLow, rawHigh, oddHigh, 6, offset, steps, acc, first);
}
