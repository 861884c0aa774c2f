// Causal attention over the KV cache, one (head, token) a unit, keys in blocks with a running maximum (no score matrix).
// Several query heads may share a kv head.
import {
  A_CAPACITY,
  A_HEADS,
  A_HEAD_DIM,
  A_KEYS,
  A_KV_HEADS,
  A_SCALE,
  A_VALUES,
  CTRL_POSITION,
  KEY_BLOCK,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { exp4, madd, sum, sums } from "./simd";
import { number, real, scratch, tokens, word } from "./words";

/** Scores of a block of KEY_BLOCK keys, those from `valid` on set to -infinity; returns the largest. */
function scoreBlock(q: usize, keys: usize, rowBytes: usize, valid: i32, out: usize): f32 {
  let best = f32x4.splat(-Infinity);
  for (let j = 0; j < KEY_BLOCK; j += 4) {
    let score = f32x4.splat(-Infinity);
    if (j < valid) {
      let k0 = keys + <usize>j * rowBytes,
        k1 = k0 + rowBytes,
        k2 = k1 + rowBytes,
        k3 = k2 + rowBytes;
      let a = f32x4.splat(0),
        b = a,
        c = a,
        d = a;
      for (let i: usize = 0; i < rowBytes; i += 16) {
        const x = v128.load(q + i);
        a = madd(v128.load(k0 + i), x, a);
        b = madd(v128.load(k1 + i), x, b);
        c = madd(v128.load(k2 + i), x, c);
        d = madd(v128.load(k3 + i), x, d);
      }
      score = sums(a, b, c, d);
      // The cache beyond the last token holds whatever an earlier text left there.
      const index = i32x4.add(i32x4.splat(j), i32x4(0, 1, 2, 3));
      score = v128.bitselect(score, f32x4.splat(-Infinity), i32x4.lt_s(index, i32x4.splat(valid)));
    }
    v128.store(out + ((<usize>j) << 2), score);
    best = f32x4.max(best, score);
  }
  return max(
    max(f32x4.extract_lane(best, 0), f32x4.extract_lane(best, 1)),
    max(f32x4.extract_lane(best, 2), f32x4.extract_lane(best, 3)),
  );
}

/** acc = acc * keep + weights V */
function mixValues(acc: usize, keep: f32, weights: usize, values: usize, rowBytes: usize, valid: i32): void {
  const scale = f32x4.splat(keep);
  let i: usize = 0;
  for (; i + 64 <= rowBytes; i += 64) {
    let a = f32x4.mul(v128.load(acc + i), scale),
      b = f32x4.mul(v128.load(acc + i, 16), scale);
    let c = f32x4.mul(v128.load(acc + i, 32), scale),
      d = f32x4.mul(v128.load(acc + i, 48), scale);
    let v = values + i;
    for (let j = 0; j < valid; j++) {
      const p = v128.load32_splat(weights + ((<usize>j) << 2));
      a = madd(p, v128.load(v), a);
      b = madd(p, v128.load(v, 16), b);
      c = madd(p, v128.load(v, 32), c);
      d = madd(p, v128.load(v, 48), d);
      v += rowBytes;
    }
    v128.store(acc + i, a);
    v128.store(acc + i, b, 16);
    v128.store(acc + i, c, 32);
    v128.store(acc + i, d, 48);
  }
  for (; i < rowBytes; i += 16) {
    let a = f32x4.mul(v128.load(acc + i), scale);
    let v = values + i;
    for (let j = 0; j < valid; j++) {
      a = madd(v128.load32_splat(weights + ((<usize>j) << 2)), v128.load(v), a);
      v += rowBytes;
    }
    v128.store(acc + i, a);
  }
}

export function attention(pc: usize, thread: i32, threads: i32): void {
  const heads = number(pc, A_HEADS),
    group = heads / number(pc, A_KV_HEADS),
    headDim = word(pc, A_HEAD_DIM);
  const rowBytes = ((headDim + 3) & ~3) << 2;
  const cacheBytes = word(pc, A_CAPACITY) * rowBytes;
  const position = load<i32>(CTRL_POSITION),
    count = tokens();
  const q = scratch(thread),
    acc = q + rowBytes,
    weights = acc + rowBytes;
  const dstStride = word(pc, W_DST_STRIDE);
  for (let unit = thread; unit < heads * count; unit += threads) {
    const head = unit / count,
      token = unit % count;
    const from = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE) + <usize>head * headDim) << 2);
    const to = word(pc, W_DST) + ((<usize>token * dstStride + <usize>head * headDim) << 2);
    memory.fill(q, 0, rowBytes << 1);
    for (let i: usize = 0; i < headDim << 2; i += 4)
      store<f32>(q + i, load<f32>(from + i) * real(pc, A_SCALE));
    const keys = word(pc, A_KEYS) + <usize>(head / group) * cacheBytes;
    const values = word(pc, A_VALUES) + <usize>(head / group) * cacheBytes;
    const length = position + token + 1;
    let largest: f32 = -Infinity,
      total: f32 = 0;
    for (let start = 0; start < length; start += KEY_BLOCK) {
      const valid = min(KEY_BLOCK, length - start);
      const best = max(largest, scoreBlock(q, keys + <usize>start * rowBytes, rowBytes, valid, weights));
      const keep = start == 0 ? <f32>0 : f32x4.extract_lane(exp4(f32x4.splat(largest - best)), 0);
      let partial = f32x4.splat(0);
      for (let j = 0; j < KEY_BLOCK; j += 4) {
        const score = v128.load(weights + ((<usize>j) << 2));
        // exp4 clamps, so a masked key needs its zero spelled out.
        const p = v128.and(
          exp4(f32x4.sub(score, f32x4.splat(best))),
          f32x4.gt(score, f32x4.splat(-Infinity)),
        );
        partial = f32x4.add(partial, p);
        v128.store(weights + ((<usize>j) << 2), p);
      }
      total = total * keep + sum(partial);
      mixValues(acc, keep, weights, values + <usize>start * rowBytes, rowBytes, valid);
      largest = best;
    }
    const inverse: f32 = 1.0 / total;
    for (let i: usize = 0; i < headDim << 2; i += 4) store<f32>(to + i, load<f32>(acc + i) * inverse);
    if (head == heads - 1) {
      const used = <usize>heads * headDim;
      memory.fill(to + (headDim << 2), 0, (dstStride - used) << 2);
    }
  }
}
