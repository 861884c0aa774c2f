// The lut8 sign kernel: group sums rounded to 8 bits, the fastest and coarsest.
import { CTRL_NIBBLE_MASK } from "../src/abi";
import { flushSums, lookup } from "./simd";

/** As signBlock12. */
export function signBlock8(w: usize, table: usize, chunks: i32, step: f32, acc: usize, first: bool): void {
  const mask = v128.load(CTRL_NIBBLE_MASK);
  let raw = i64x2.splat(0), odd = raw;
  for (let end = w + <usize>chunks * 64; w < end; w += 64) {
    let codes = v128.load(w);
    let s = lookup(v128.load(table), v128.and(codes, mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 16), v128.and(i16x8.shr_u(codes, 4), mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    codes = v128.load(w, 16);
    s = lookup(v128.load(table, 32), v128.and(codes, mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 48), v128.and(i16x8.shr_u(codes, 4), mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    codes = v128.load(w, 32);
    s = lookup(v128.load(table, 64), v128.and(codes, mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 80), v128.and(i16x8.shr_u(codes, 4), mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    codes = v128.load(w, 48);
    s = lookup(v128.load(table, 96), v128.and(codes, mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = lookup(v128.load(table, 112), v128.and(i16x8.shr_u(codes, 4), mask));
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    table += 128;
  }
  const none = i64x2.splat(0), offset = i32x4.splat(chunks * 8 * 128), steps = f32x4.splat(step);
  flushSums(i16x8.sub(raw, i16x8.shl(odd, 8)), none, 0, offset, steps, acc, first);
  flushSums(odd, none, 0, offset, steps, acc + 32, first);
}
