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
import { sumLanes } from "./arithmetic.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";

const f = Math.fround;

/** Sum of `count` floats: four lanes, then what is left of a whole vector. */
function total(values: Float32Array, at: number, count: number): number {
  const lanes = [0, 0, 0, 0];
  const whole = count & ~3;
  for (let i = 0; i < whole; i++) lanes[i & 3] = f(lanes[i & 3] + values[at + i]);
  let sum = sumLanes(lanes[0], lanes[1], lanes[2], lanes[3]);
  for (let i = whole; i < count; i++) sum = f(sum + values[at + i]);
  return sum;
}

/** Sum of squares of x - shift: four vectors of four lanes, then what is left of sixteen. */
function power(values: Float32Array, at: number, count: number, shift: number): number {
  const square = (i: number): number => f(f(values[at + i] - shift) * f(values[at + i] - shift));
  const lanes = new Float32Array(16);
  const whole = count & ~15;
  for (let i = 0; i < whole; i++) lanes[i & 15] += square(i);
  const [a, b, c, d] = [0, 1, 2, 3].map((i) =>
    f(f(lanes[i] + lanes[i + 4]) + f(lanes[i + 8] + lanes[i + 12])),
  );
  let sum = sumLanes(a, b, c, d);
  for (let i = whole; i < count; i++) sum = f(sum + square(i));
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
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    let mean = 0;
    if (word(m, pc, N_KIND) === NORM_LAYER) mean = f(total(m.f32, x, features) / features);
    const scale = inverseDeviation(m.f32, x, features, mean, real(m, pc, N_EPS));
    for (let i = 0; i < features; i++) {
      const v = f(f(f(m.f32[x + i] - mean) * scale) * m.f32[weight + i]);
      m.f32[y + i] = bias ? v + m.f32[bias + i] : v;
    }
    m.f32.fill(0, y + features, y + stride);
  }
}
