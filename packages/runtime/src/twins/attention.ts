/** Twin of causal attention over the KV cache. */
import {
  A_CAPACITY,
  A_HEADS,
  A_HEAD_DIM,
  A_KEYS,
  A_KV_HEADS,
  A_SCALE,
  A_VALUES,
  CTRL_POSITION,
  CTRL_TOKENS,
  KEY_BLOCK,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { dot, exp, madd, sumLanes } from "./arithmetic.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";

const f = Math.fround;

export function attention(m: MemoryViews, pc: number): void {
  const heads = word(m, pc, A_HEADS);
  const group = heads / word(m, pc, A_KV_HEADS);
  const headDim = word(m, pc, A_HEAD_DIM);
  const rowFloats = Math.ceil(headDim / 4) * 4;
  const cacheFloats = word(m, pc, A_CAPACITY) * rowFloats;
  const stride = word(m, pc, W_DST_STRIDE);
  const scale = real(m, pc, A_SCALE);
  const query = new Float32Array(rowFloats);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const length = control(m, CTRL_POSITION) + token + 1;
    const row = floats(m, pc, W_DST) + token * stride;
    for (let head = 0; head < heads; head++) {
      const from = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE) + head * headDim;
      for (let i = 0; i < headDim; i++) query[i] = m.f32[from + i] * scale;
      const cache = Math.floor(head / group) * cacheFloats;
      const keys = floats(m, pc, A_KEYS) + cache;
      const values = floats(m, pc, A_VALUES) + cache;
      const mixed = attend(m, query, keys, values, length);
      for (let i = 0; i < headDim; i++) m.f32[row + head * headDim + i] = mixed[i];
    }
    m.f32.fill(0, row + heads * headDim, row + stride);
  }
}

/** softmax(K q) V over `length` keys, block by block with a running maximum, as the kernel rounds it. */
function attend(
  m: MemoryViews,
  query: Float32Array,
  keys: number,
  values: number,
  length: number,
): Float32Array {
  const size = query.length;
  const mixed = new Float32Array(size);
  let largest = -Infinity;
  let total = 0;
  for (let start = 0; start < length; start += KEY_BLOCK) {
    const count = Math.min(KEY_BLOCK, length - start);
    const weights = new Float32Array(count);
    for (let j = 0; j < count; j++)
      weights[j] = dot(m.fused, m.f32, keys + (start + j) * size, query, 0, size);
    const best = weights.reduce((a, b) => Math.max(a, b), largest);
    const keep = start === 0 ? 0 : exp(f(largest - best));
    const partial = new Float32Array(4);
    for (let j = 0; j < count; j++) {
      weights[j] = exp(f(weights[j] - best));
      partial[j & 3] += weights[j];
    }
    total = f(f(total * keep) + sumLanes(partial[0], partial[1], partial[2], partial[3]));
    for (let i = 0; i < size; i++) {
      let sum = f(mixed[i] * keep);
      for (let j = 0; j < count; j++)
        sum = madd(m.fused, weights[j], m.f32[values + (start + j) * size + i], sum);
      mixed[i] = sum;
    }
    largest = best;
  }
  const inverse = f(1 / total);
  return mixed.map((value) => value * inverse);
}
