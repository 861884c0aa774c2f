// Products of a few rows with a small row-major matrix, out [rows, cols] = a [rows, inner] m [inner, cols]: what scores are (of
// queries with a block of keys) and what mixed values are (of weights with a block of values). Every element is one chain of
// multiply-adds along `inner`, whatever the shape of the register tile, so all shapes give the same bits.
import { STATE_KEEP } from "../src/abi";
import { madd } from "./simd";

// @ts-ignore: decorator
@inline
function splat(at: usize): v128 {
  return v128.load32_splat(at);
}

/**
 * rows x cols, cols a multiple of 8.
 * @param keeps states of the rows: out is multiplied by their STATE_KEEP and added to; 0: out is overwritten
 * @param stateBytes from state to state
 */
export function product(
  a: usize,
  aBytes: usize,
  rows: i32,
  m: usize,
  mBytes: usize,
  inner: i32,
  out: usize,
  outBytes: usize,
  cols: i32,
  keeps: usize,
  stateBytes: usize,
): void {
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    for (let c: usize = 0; c < <usize>cols << 2; c += 32) {
      tile4x2(a, aBytes, m + c, mBytes, inner, out + c, outBytes, keeps, stateBytes);
    }
    a += aBytes << 2;
    out += outBytes << 2;
    if (keeps != 0) keeps += stateBytes << 2;
  }
  for (; r < rows; r++) {
    let c: usize = 0;
    for (; c + 128 <= <usize>cols << 2; c += 128) tile1x8(a, m + c, mBytes, inner, out + c, keeps);
    for (; c < <usize>cols << 2; c += 32) tile1x2(a, m + c, mBytes, inner, out + c, keeps);
    a += aBytes;
    out += outBytes;
    if (keeps != 0) keeps += stateBytes;
  }
}

export function tile4x2(
  a: usize,
  aBytes: usize,
  m: usize,
  mBytes: usize,
  inner: i32,
  out: usize,
  outBytes: usize,
  keeps: usize,
  stateBytes: usize,
): void {
  let a1 = a + aBytes,
    a2 = a1 + aBytes,
    a3 = a2 + aBytes;
  const out1 = out + outBytes,
    out2 = out1 + outBytes,
    out3 = out2 + outBytes;
  let c00 = f32x4.splat(0),
    c01 = c00,
    c10 = c00,
    c11 = c00,
    c20 = c00,
    c21 = c00,
    c30 = c00,
    c31 = c00;
  if (keeps != 0) {
    let keep = v128.load32_splat(keeps, STATE_KEEP);
    c00 = f32x4.mul(v128.load(out), keep);
    c01 = f32x4.mul(v128.load(out, 16), keep);
    keep = v128.load32_splat(keeps + stateBytes, STATE_KEEP);
    c10 = f32x4.mul(v128.load(out1), keep);
    c11 = f32x4.mul(v128.load(out1, 16), keep);
    keep = v128.load32_splat(keeps + (stateBytes << 1), STATE_KEEP);
    c20 = f32x4.mul(v128.load(out2), keep);
    c21 = f32x4.mul(v128.load(out2, 16), keep);
    keep = v128.load32_splat(keeps + (stateBytes << 1) + stateBytes, STATE_KEEP);
    c30 = f32x4.mul(v128.load(out3), keep);
    c31 = f32x4.mul(v128.load(out3, 16), keep);
  }
  for (const end = a + (<usize>inner << 2); a < end; a += 4) {
    const m0 = v128.load(m),
      m1 = v128.load(m, 16);
    let x = splat(a);
    c00 = madd(x, m0, c00);
    c01 = madd(x, m1, c01);
    x = splat(a1);
    c10 = madd(x, m0, c10);
    c11 = madd(x, m1, c11);
    x = splat(a2);
    c20 = madd(x, m0, c20);
    c21 = madd(x, m1, c21);
    x = splat(a3);
    c30 = madd(x, m0, c30);
    c31 = madd(x, m1, c31);
    a1 += 4;
    a2 += 4;
    a3 += 4;
    m += mBytes;
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  v128.store(out1, c10);
  v128.store(out1, c11, 16);
  v128.store(out2, c20);
  v128.store(out2, c21, 16);
  v128.store(out3, c30);
  v128.store(out3, c31, 16);
}

export function tile1x8(a: usize, m: usize, mBytes: usize, inner: i32, out: usize, keeps: usize): void {
  let c0 = f32x4.splat(0),
    c1 = c0,
    c2 = c0,
    c3 = c0,
    c4 = c0,
    c5 = c0,
    c6 = c0,
    c7 = c0;
  if (keeps != 0) {
    const keep = v128.load32_splat(keeps, STATE_KEEP);
    c0 = f32x4.mul(v128.load(out), keep);
    c1 = f32x4.mul(v128.load(out, 16), keep);
    c2 = f32x4.mul(v128.load(out, 32), keep);
    c3 = f32x4.mul(v128.load(out, 48), keep);
    c4 = f32x4.mul(v128.load(out, 64), keep);
    c5 = f32x4.mul(v128.load(out, 80), keep);
    c6 = f32x4.mul(v128.load(out, 96), keep);
    c7 = f32x4.mul(v128.load(out, 112), keep);
  }
  for (const end = a + (<usize>inner << 2); a < end; a += 4) {
    const x = splat(a);
    c0 = madd(x, v128.load(m), c0);
    c1 = madd(x, v128.load(m, 16), c1);
    c2 = madd(x, v128.load(m, 32), c2);
    c3 = madd(x, v128.load(m, 48), c3);
    c4 = madd(x, v128.load(m, 64), c4);
    c5 = madd(x, v128.load(m, 80), c5);
    c6 = madd(x, v128.load(m, 96), c6);
    c7 = madd(x, v128.load(m, 112), c7);
    m += mBytes;
  }
  v128.store(out, c0);
  v128.store(out, c1, 16);
  v128.store(out, c2, 32);
  v128.store(out, c3, 48);
  v128.store(out, c4, 64);
  v128.store(out, c5, 80);
  v128.store(out, c6, 96);
  v128.store(out, c7, 112);
}

function tile1x2(a: usize, m: usize, mBytes: usize, inner: i32, out: usize, keeps: usize): void {
  let c0 = f32x4.splat(0),
    c1 = c0;
  if (keeps != 0) {
    const keep = v128.load32_splat(keeps, STATE_KEEP);
    c0 = f32x4.mul(v128.load(out), keep);
    c1 = f32x4.mul(v128.load(out, 16), keep);
  }
  for (const end = a + (<usize>inner << 2); a < end; a += 4) {
    const x = splat(a);
    c0 = madd(x, v128.load(m), c0);
    c1 = madd(x, v128.load(m, 16), c1);
    m += mBytes;
  }
  v128.store(out, c0);
  v128.store(out, c1, 16);
}
