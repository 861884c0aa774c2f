/** Twin of RMS norm and layer norm. */
import {
  CTRL_TOKENS,
  NORM_LAYER,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_HEADS,
  N_KIND,
  N_RESIDUAL,
  N_WEIGHT,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { sumLanes } from "./arithmetic.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";

const f = Math.fround;

/** Sum of `count` floats: four vectors of four lanes, then what is left of sixteen. */
function total(values: Float32Array, at: number, count: number): number {
  return sixteenLanes(count, (i) => values[at + i]);
}

/** Sum of squares of x - shift: four vectors of four lanes, then what is left of sixteen. */
function power(values: Float32Array, at: number, count: number, shift: number): number {
  return sixteenLanes(count, (i) => f(f(values[at + i] - shift) * f(values[at + i] - shift)));
}

function sixteenLanes(count: number, value: (i: number) => number): number {
  const lanes = new Float32Array(16);
  const whole = count & ~15;
  for (let i = 0; i < whole; i++) lanes[i & 15] += value(i);
  const [a, b, c, d] = [0, 1, 2, 3].map((i) =>
    f(f(lanes[i] + lanes[i + 4]) + f(lanes[i + 8] + lanes[i + 12])),
  );
  let sum = sumLanes(a, b, c, d);
  for (let i = whole; i < count; i++) sum = f(sum + value(i));
  return sum;
}

/** 1 / sqrt(mean square of x - shift + eps), x at index `at` */
export function inverseDeviation(
  values: Float32Array,
  at: number,
  features: number,
  shift: number,
  eps: number,
): number {
  return f(1 / f(Math.sqrt(f(f(power(values, at, features, shift) / features) + eps))));
}

export function norm(m: MemoryViews, pc: number): void {
  const features = word(m, pc, N_FEATURES);
  const stride = word(m, pc, W_DST_STRIDE);
  const weight = floats(m, pc, N_WEIGHT);
  const bias = floats(m, pc, N_BIAS);
  const residual = floats(m, pc, N_RESIDUAL);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    let mean = 0;
    if (word(m, pc, N_KIND) === NORM_LAYER) mean = f(total(m.f32, x, features) / features);
    const scale = inverseDeviation(m.f32, x, features, mean, real(m, pc, N_EPS));
    for (let i = 0; i < features; i++) {
      const v = f(f(f(m.f32[x + i] - mean) * scale) * m.f32[weight + i]);
      const biased = bias ? f(v + m.f32[bias + i]) : v;
      m.f32[y + i] = residual ? biased + m.f32[residual + token * stride + i] : biased;
    }
    m.f32.fill(0, y + features, y + stride);
  }
}

export function headNorm(m: MemoryViews, pc: number): void {
  const [heads, features] = [N_HEADS, N_FEATURES].map((index) => word(m, pc, index));
  const stride = word(m, pc, W_DST_STRIDE);
  const weight = floats(m, pc, N_WEIGHT);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    for (let head = 0; head < heads; head++) {
      const at = head * features;
      const scale = inverseDeviation(m.f32, x + at, features, 0, real(m, pc, N_EPS));
      for (let i = 0; i < features; i++) m.f32[y + at + i] = f(m.f32[x + at + i] * scale) * m.f32[weight + i];
    }
    m.f32.fill(0, y + heads * features, y + stride);
  }
}
