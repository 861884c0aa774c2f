/** Twin of causal attention over the KV cache: softmax of all scores at once. */
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
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";

export function attention(m: MemoryViews, pc: number): void {
  const heads = word(m, pc, A_HEADS);
  const group = heads / word(m, pc, A_KV_HEADS);
  const headDim = word(m, pc, A_HEAD_DIM);
  const rowFloats = Math.ceil(headDim / 4) * 4;
  const cacheFloats = word(m, pc, A_CAPACITY) * rowFloats;
  const stride = word(m, pc, W_DST_STRIDE);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const length = control(m, CTRL_POSITION) + token + 1;
    const scores = new Float64Array(length);
    for (let head = 0; head < heads; head++) {
      const q = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE) + head * headDim;
      const keys = floats(m, pc, A_KEYS) + Math.floor(head / group) * cacheFloats;
      const values = floats(m, pc, A_VALUES) + Math.floor(head / group) * cacheFloats;
      for (let j = 0; j < length; j++) {
        let score = 0;
        for (let i = 0; i < headDim; i++) score += m.f32[q + i] * m.f32[keys + j * rowFloats + i];
        scores[j] = score * real(m, pc, A_SCALE);
      }
      const largest = scores.reduce((a, b) => Math.max(a, b));
      let total = 0;
      for (let j = 0; j < length; j++) total += scores[j] = Math.exp(scores[j] - largest);
      const y = floats(m, pc, W_DST) + token * stride + head * headDim;
      for (let i = 0; i < headDim; i++) {
        let mixed = 0;
        for (let j = 0; j < length; j++) mixed += scores[j] * m.f32[values + j * rowFloats + i];
        m.f32[y + i] = mixed / total;
      }
    }
    const row = floats(m, pc, W_DST) + token * stride;
    m.f32.fill(0, row + heads * headDim, row + stride);
  }
}
