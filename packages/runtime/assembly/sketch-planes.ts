// The sign product of a sketch: 16 rows of signs times x, from byte tables of x (coarse: the sketch itself errs far more).
// A group of four inputs has 16 signed sums; entry = 64 + sum in steps of a 63rd of the largest, so that two entries may be
// added as bytes before they are widened. Vectors of 16 bytes: byte lane as in sign-product.ts, two groups of a row a byte.
import { CTRL_NIBBLE_MASK, SKETCH_BLOCK } from "../src/abi";
import { lookup } from "./simd";

/** Tables of x, 4 bytes an input, and the steps of its blocks. Returns the sum over groups of step^2. */
export function sketchTables(x: usize, cols: i32, tables: usize, steps: usize): f32 {
  let noise: f32 = 0;
  const odd = f32x4(1, -1, 1, -1), upper = f32x4(1, 1, -1, -1);
  const magic = f32x4.splat(12582976.0), bits = i32x4.splat(0x4b400000);
  for (let first = 0; first < cols; first += SKETCH_BLOCK) {
    const inputs = min(SKETCH_BLOCK, cols - first);
    let largest: f32 = 0;
    for (let at = x, end = x + (<usize>inputs << 2); at < end; at += 16) {
      const total = abs<f32>(load<f32>(at)) + abs<f32>(load<f32>(at, 4)) + (abs<f32>(load<f32>(at, 8)) + abs<f32>(load<f32>(at, 12)));
      largest = max(largest, total);
    }
    const some = largest > 1e-30;
    const factor: f32 = some ? 63 / largest : 0, step: f32 = some ? largest / 63 : 0;
    for (const end = x + (<usize>inputs << 2); x < end; x += 16) {
      const a = load<f32>(x, 8) * factor, b = load<f32>(x, 12) * factor;
      const pairs = f32x4.add(
        f32x4.mul(f32x4.splat(load<f32>(x) * factor), odd),
        f32x4.mul(f32x4.splat(load<f32>(x, 4) * factor), upper),
      );
      const e0 = i32x4.sub(f32x4.add(f32x4.add(pairs, f32x4.splat(a + b)), magic), bits);
      const e1 = i32x4.sub(f32x4.add(f32x4.add(pairs, f32x4.splat(b - a)), magic), bits);
      const e2 = i32x4.sub(f32x4.add(f32x4.add(pairs, f32x4.splat(a - b)), magic), bits);
      const e3 = i32x4.sub(f32x4.add(f32x4.add(pairs, f32x4.splat(-a - b)), magic), bits);
      v128.store(tables, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(e0, e1), i16x8.narrow_i32x4_s(e2, e3)));
      tables += 16;
    }
    store<f32>(steps, step);
    steps += 4;
    noise += step * step * <f32>(inputs >> 2);
  }
  return noise;
}

// @ts-ignore: decorator
@inline
function pairSum(w: v128, table: usize, mask: v128): v128 {
  return i8x16.add(
    lookup(v128.load(table), v128.and(w, mask)),
    lookup(v128.load(table, 16), v128.and(i16x8.shr_u(w, 4), mask)),
  );
}

// @ts-ignore: decorator
@inline
function flush(sum: v128, offset: v128, step: v128, acc: usize): void {
  v128.store(acc, f32x4.add(v128.load(acc), f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(sum, offset)), step)));
}

/** acc[16] += step * (16 rows of one block of `inputs`), a multiple of 16. */
function block(w: usize, table: usize, inputs: i32, step: f32, acc: usize): void {
  const mask = v128.load(CTRL_NIBBLE_MASK);
  let raw = i64x2.splat(0), odd = raw;
  // A load of the line 4 KB ahead, for what streams from beyond the cache.
  for (let end = w + <usize>(inputs >> 5) * 64; w < end; w += 64) {
    load<i32>(w, 4096);
    let s = pairSum(v128.load(w), table, mask);
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = pairSum(v128.load(w, 16), table + 32, mask);
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = pairSum(v128.load(w, 32), table + 64, mask);
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = pairSum(v128.load(w, 48), table + 96, mask);
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    table += 128;
  }
  if (inputs & 16) {
    let s = pairSum(v128.load(w), table, mask);
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
    s = pairSum(v128.load(w, 16), table + 32, mask);
    raw = i16x8.add(raw, s);
    odd = i16x8.add(odd, i16x8.shr_u(s, 8));
  }
  // Even bytes are rows 0-7, odd ones rows 8-15; `raw` holds both and may have wrapped.
  const even = i16x8.sub(raw, i16x8.shl(odd, 8));
  const offset = i32x4.splat(inputs << 4), steps = f32x4.splat(step);
  flush(i32x4.extend_low_i16x8_u(even), offset, steps, acc);
  flush(i32x4.extend_high_i16x8_u(even), offset, steps, acc + 16);
  flush(i32x4.extend_low_i16x8_u(odd), offset, steps, acc + 32);
  flush(i32x4.extend_high_i16x8_u(odd), offset, steps, acc + 48);
}

/** acc[16] = 16 rows of signs times x. */
export function planeSums(w: usize, tables: usize, steps: usize, cols: i32, acc: usize): void {
  for (let i: usize = 0; i < 64; i += 16) v128.store(acc + i, f32x4.splat(0));
  for (let first = 0; first < cols; first += SKETCH_BLOCK) {
    const inputs = min(SKETCH_BLOCK, cols - first);
    block(w, tables, inputs, load<f32>(steps), acc);
    w += <usize>inputs * 2;
    tables += <usize>inputs * 4;
    steps += 4;
  }
}
