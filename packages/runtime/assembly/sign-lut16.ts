// The lut16 sign kernel: group sums exact to 16 bits, for checks and for models that ask for precision.
import { CTRL_NIBBLE_MASK } from "../src/abi";
import { flushBytes, lookup } from "./simd";

/** As signBlock12. */
export function signBlock16(w: usize, table: usize, chunks: i32, step: f32, acc: usize, first: bool): void {
  const mask = v128.load(CTRL_NIBBLE_MASK);
  let rawLow = i64x2.splat(0), oddLow = rawLow, rawHigh = rawLow, oddHigh = rawLow;
  for (let end = w + <usize>chunks * 64; w < end; w += 16) {
    const codes = v128.load(w);
    const i0 = v128.and(codes, mask), i1 = v128.and(i16x8.shr_u(codes, 4), mask);
    let s = lookup(v128.load(table), i0);
    rawLow = i16x8.add(rawLow, s);
    oddLow = i16x8.add(oddLow, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 32), i1);
    rawLow = i16x8.add(rawLow, s);
    oddLow = i16x8.add(oddLow, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 16), i0);
    rawHigh = i16x8.add(rawHigh, s);
    oddHigh = i16x8.add(oddHigh, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 48), i1);
    rawHigh = i16x8.add(rawHigh, s);
    oddHigh = i16x8.add(oddHigh, i16x8.shr_u(s, 8));
    table += 64;
  }
  const offset = i32x4.splat(chunks * 8 * 32768), steps = f32x4.splat(step);
  flushBytes(rawLow, oddLow, rawHigh, oddHigh, 8, offset, steps, acc, first);
}
