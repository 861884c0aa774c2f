// RMS norm and layer norm, one token a unit.
import {
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
} from "../src/abi";
import { sum } from "./simd";
import { number, real, tokens, word } from "./words";

// @ts-ignore: decorator
@inline
function addSquare(at: usize, shift: v128, total: v128): v128 {
  const v = f32x4.sub(v128.load(at), shift);
  return f32x4.add(total, f32x4.mul(v, v));
}

/** 1 / sqrt(mean square of x - shift + eps). Four running sums: one would wait for itself. */
export function inverseDeviation(x: usize, features: i32, shift: f32, eps: f32): f32 {
  const shifts = f32x4.splat(shift), end = x + (<usize>features << 2);
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (; x + 64 <= end; x += 64) {
    a = addSquare(x, shifts, a);
    b = addSquare(x + 16, shifts, b);
    c = addSquare(x + 32, shifts, c);
    d = addSquare(x + 48, shifts, d);
  }
  let power = sum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; x < end; x += 4) {
    const v = load<f32>(x) - shift;
    power += v * v;
  }
  return 1.0 / sqrt<f32>(power / <f32>features + eps);
}

export function norm(pc: usize, thread: i32, threads: i32): void {
  const features = number(pc, N_FEATURES),
    stride = word(pc, W_SRC_STRIDE);
  const weight = word(pc, N_WEIGHT),
    bias = word(pc, N_BIAS);
  const whole = ((<usize>features) & ~3) << 2,
    bytes = (<usize>features) << 2;
  for (let token = thread; token < tokens(); token += threads) {
    const x = word(pc, W_SRC) + ((<usize>token * stride) << 2);
    const y = word(pc, W_DST) + ((<usize>token * word(pc, W_DST_STRIDE)) << 2);
    let mean: f32 = 0;
    if (number(pc, N_KIND) == NORM_LAYER) {
      let total = f32x4.splat(0);
      for (let i: usize = 0; i < whole; i += 16) total = f32x4.add(total, v128.load(x + i));
      mean = sum(total);
      for (let i = whole; i < bytes; i += 4) mean += load<f32>(x + i);
      mean /= <f32>features;
    }
    const shift = f32x4.splat(mean);
    const scale = f32x4.splat(inverseDeviation(x, features, mean, real(pc, N_EPS)));
    // The weight is zero beyond the features, so the padding of y becomes zero.
    for (let i: usize = 0; i < stride << 2; i += 16) {
      let v = f32x4.mul(f32x4.mul(f32x4.sub(v128.load(x + i), shift), scale), v128.load(weight + i));
      if (bias != 0) v = f32x4.add(v, v128.load(bias + i));
      v128.store(y + i, v);
    }
  }
}
