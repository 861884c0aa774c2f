// The products of products.ts for 8-bit matrices: a holds 16-bit integers, m is [inner / 2, cols, 2], and one instruction takes
// two neighbours along `inner` of four columns. Sums of integers are exact: |a| < 2^15, |m| < 2^7, inner <= 512.
import { STATE_KEEP } from "../src/abi";
import { madd } from "./simd";

// @ts-ignore: decorator
@inline
function dot(x: v128, m: v128, sum: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(m, x));
}

/** Integer sums times the row's step, times the columns' steps where there are any, to `out` or added to its kept share. */
// @ts-ignore: decorator
@inline
function finish(sum: v128, step: v128, colSteps: usize, state: usize, out: usize, at: usize): void {
  const value = f32x4.convert_i32x4_s(sum);
  if (colSteps != 0) {
    v128.store(out + at, f32x4.mul(f32x4.mul(value, step), v128.load(colSteps + at)));
  } else {
    const kept = f32x4.mul(v128.load(out + at), v128.load32_splat(state, STATE_KEEP));
    v128.store(out + at, madd(value, step, kept));
  }
}

/** Eight columns of one row. */
// @ts-ignore: decorator
@inline
function finishPair(first: v128, second: v128, colSteps: usize, state: usize, stepWord: usize, out: usize): void {
  const step = v128.load32_splat(state + stepWord);
  finish(first, step, colSteps, state, out, 0);
  finish(second, step, colSteps, state, out, 16);
}

/**
 * rows x cols, cols a multiple of 8.
 * @param pairs inner / 2
 * @param colSteps f32 [cols]: out = sums * row step * column step; 0: out = out * STATE_KEEP + sums * row step
 * @param states of the rows
 * @param stepWord place of the row's step in its state
 */
export function integerProduct(
  a: usize,
  aBytes: usize,
  rows: i32,
  m: usize,
  mBytes: usize,
  pairs: i32,
  out: usize,
  outBytes: usize,
  cols: i32,
  colSteps: usize,
  states: usize,
  stateBytes: usize,
  stepWord: usize,
): void {
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    for (let c = 0; c < cols; c += 8) {
      const steps = colSteps != 0 ? colSteps + (<usize>c << 2) : 0;
      integerTile4x2(
        a,
        aBytes,
        m + (<usize>c << 1),
        mBytes,
        pairs,
        out + (<usize>c << 2),
        outBytes,
        steps,
        states,
        stateBytes,
        stepWord,
      );
    }
    a += aBytes << 2;
    out += outBytes << 2;
    states += stateBytes << 2;
  }
  if (r + 3 == rows) {
    for (let c = 0; c < cols; c += 8) {
      const steps = colSteps != 0 ? colSteps + (<usize>c << 2) : 0;
      // prettier-ignore
      integerTile3x2(a, aBytes, m + (<usize>c << 1), mBytes, pairs, out + (<usize>c << 2), outBytes, steps, states, stateBytes, stepWord);
    }
    return;
  }
  for (; r < rows; r++) {
    let c = 0;
    const step = v128.load32_splat(states + stepWord);
    for (; c + 32 <= cols; c += 32) {
      const steps = colSteps != 0 ? colSteps + (<usize>c << 2) : 0;
      integerTile1x8(a, m + (<usize>c << 1), mBytes, pairs, out + (<usize>c << 2), steps, states, step);
    }
    for (; c < cols; c += 8) {
      const steps = colSteps != 0 ? colSteps + (<usize>c << 2) : 0;
      integerTile1x2(a, m + (<usize>c << 1), mBytes, pairs, out + (<usize>c << 2), steps, states, step);
    }
    a += aBytes;
    out += outBytes;
    states += stateBytes;
  }
}

export function integerTile4x2(
  a: usize,
  aBytes: usize,
  m: usize,
  mBytes: usize,
  pairs: i32,
  out: usize,
  outBytes: usize,
  colSteps: usize,
  states: usize,
  stateBytes: usize,
  stepWord: usize,
): void {
  let a1 = a + aBytes,
    a2 = a1 + aBytes,
    a3 = a2 + aBytes;
  let c00 = i32x4.splat(0),
    c01 = c00,
    c10 = c00,
    c11 = c00,
    c20 = c00,
    c21 = c00,
    c30 = c00,
    c31 = c00;
  for (const end = a + (<usize>pairs << 2); a < end; a += 4) {
    const m0 = v128.load8x8_s(m),
      m1 = v128.load8x8_s(m, 8);
    let x = v128.load32_splat(a);
    c00 = dot(x, m0, c00);
    c01 = dot(x, m1, c01);
    x = v128.load32_splat(a1);
    c10 = dot(x, m0, c10);
    c11 = dot(x, m1, c11);
    x = v128.load32_splat(a2);
    c20 = dot(x, m0, c20);
    c21 = dot(x, m1, c21);
    x = v128.load32_splat(a3);
    c30 = dot(x, m0, c30);
    c31 = dot(x, m1, c31);
    a1 += 4;
    a2 += 4;
    a3 += 4;
    m += mBytes;
  }
  finishPair(c00, c01, colSteps, states, stepWord, out);
  states += stateBytes;
  out += outBytes;
  finishPair(c10, c11, colSteps, states, stepWord, out);
  states += stateBytes;
  out += outBytes;
  finishPair(c20, c21, colSteps, states, stepWord, out);
  states += stateBytes;
  out += outBytes;
  finishPair(c30, c31, colSteps, states, stepWord, out);
}

/** Three query heads that share a kv head are common enough. */
export function integerTile3x2(
  a: usize,
  aBytes: usize,
  m: usize,
  mBytes: usize,
  pairs: i32,
  out: usize,
  outBytes: usize,
  colSteps: usize,
  states: usize,
  stateBytes: usize,
  stepWord: usize,
): void {
  let a1 = a + aBytes,
    a2 = a1 + aBytes;
  let c00 = i32x4.splat(0),
    c01 = c00,
    c10 = c00,
    c11 = c00,
    c20 = c00,
    c21 = c00;
  for (const end = a + (<usize>pairs << 2); a < end; a += 4) {
    const m0 = v128.load8x8_s(m),
      m1 = v128.load8x8_s(m, 8);
    let x = v128.load32_splat(a);
    c00 = dot(x, m0, c00);
    c01 = dot(x, m1, c01);
    x = v128.load32_splat(a1);
    c10 = dot(x, m0, c10);
    c11 = dot(x, m1, c11);
    x = v128.load32_splat(a2);
    c20 = dot(x, m0, c20);
    c21 = dot(x, m1, c21);
    a1 += 4;
    a2 += 4;
    m += mBytes;
  }
  finishPair(c00, c01, colSteps, states, stepWord, out);
  states += stateBytes;
  out += outBytes;
  finishPair(c10, c11, colSteps, states, stepWord, out);
  states += stateBytes;
  out += outBytes;
  finishPair(c20, c21, colSteps, states, stepWord, out);
}

export function integerTile1x8(
  a: usize,
  m: usize,
  mBytes: usize,
  pairs: i32,
  out: usize,
  colSteps: usize,
  state: usize,
  step: v128,
): void {
  let c0 = i32x4.splat(0),
    c1 = c0,
    c2 = c0,
    c3 = c0,
    c4 = c0,
    c5 = c0,
    c6 = c0,
    c7 = c0;
  for (const end = a + (<usize>pairs << 2); a < end; a += 4) {
    const x = v128.load32_splat(a);
    c0 = dot(x, v128.load8x8_s(m), c0);
    c1 = dot(x, v128.load8x8_s(m, 8), c1);
    c2 = dot(x, v128.load8x8_s(m, 16), c2);
    c3 = dot(x, v128.load8x8_s(m, 24), c3);
    c4 = dot(x, v128.load8x8_s(m, 32), c4);
    c5 = dot(x, v128.load8x8_s(m, 40), c5);
    c6 = dot(x, v128.load8x8_s(m, 48), c6);
    c7 = dot(x, v128.load8x8_s(m, 56), c7);
    m += mBytes;
  }
  finish(c0, step, colSteps, state, out, 0);
  finish(c1, step, colSteps, state, out, 16);
  finish(c2, step, colSteps, state, out, 32);
  finish(c3, step, colSteps, state, out, 48);
  finish(c4, step, colSteps, state, out, 64);
  finish(c5, step, colSteps, state, out, 80);
  finish(c6, step, colSteps, state, out, 96);
  finish(c7, step, colSteps, state, out, 112);
}

function integerTile1x2(
  a: usize,
  m: usize,
  mBytes: usize,
  pairs: i32,
  out: usize,
  colSteps: usize,
  state: usize,
  step: v128,
): void {
  let c0 = i32x4.splat(0),
    c1 = c0;
  for (const end = a + (<usize>pairs << 2); a < end; a += 4) {
    const x = v128.load32_splat(a);
    c0 = dot(x, v128.load8x8_s(m), c0);
    c1 = dot(x, v128.load8x8_s(m, 8), c1);
    m += mBytes;
  }
  finish(c0, step, colSteps, state, out, 0);
  finish(c1, step, colSteps, state, out, 16);
}
