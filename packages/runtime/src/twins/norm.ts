/** Twin of RMS norm and layer norm. */
import {
  CTRL_TOKENS,
  NORM_LAYER,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_KIND,
  N_WEIGHT,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";

export function norm(m: MemoryViews, pc: number): void {
  const features = word(m, pc, N_FEATURES);
  const stride = word(m, pc, W_DST_STRIDE);
  const weight = floats(m, pc, N_WEIGHT);
  const bias = floats(m, pc, N_BIAS);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    let mean = 0;
    if (word(m, pc, N_KIND) === NORM_LAYER) {
      for (let i = 0; i < features; i++) mean += m.f32[x + i] / features;
    }
    let power = 0;
    for (let i = 0; i < features; i++) power += (m.f32[x + i] - mean) ** 2 / features;
    const scale = 1 / Math.sqrt(power + real(m, pc, N_EPS));
    for (let i = 0; i < features; i++) {
      m.f32[y + i] = (m.f32[x + i] - mean) * scale * m.f32[weight + i] + (bias ? m.f32[bias + i] : 0);
    }
    m.f32.fill(0, y + features, y + stride);
  }
}
