// RMS norm and layer norm, one token a unit.
import {
  NORM_LAYER,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_HEADS,
  N_KIND,
  N_RESIDUAL,
  N_ROTATE,
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

/** Mean of x. Four running sums, as above. */
function meanOf(x: usize, features: i32): f32 {
  const end = x + (<usize>features << 2);
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (; x + 64 <= end; x += 64) {
    a = f32x4.add(a, v128.load(x));
    b = f32x4.add(b, v128.load(x, 16));
    c = f32x4.add(c, v128.load(x, 32));
    d = f32x4.add(d, v128.load(x, 48));
  }
  let total = sum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; x < end; x += 4) total += load<f32>(x);
  return total / <f32>features;
}

export function norm(pc: usize, thread: i32, threads: i32): void {
  const features = number(pc, N_FEATURES),
    stride = word(pc, W_SRC_STRIDE);
  const weight = word(pc, N_WEIGHT),
    bias = word(pc, N_BIAS);
  const residual = word(pc, N_RESIDUAL);
  for (let token = (thread + number(pc, N_ROTATE)) % threads; token < tokens(); token += threads) {
    const x = word(pc, W_SRC) + ((<usize>token * stride) << 2);
    const y = word(pc, W_DST) + ((<usize>token * word(pc, W_DST_STRIDE)) << 2);
    let mean: f32 = 0;
    if (number(pc, N_KIND) == NORM_LAYER) mean = meanOf(x, features);
    const shift = f32x4.splat(mean);
    const scale = f32x4.splat(inverseDeviation(x, features, mean, real(pc, N_EPS)));
    // The weight is zero beyond the features, so the padding of y becomes zero.
    for (let i: usize = 0; i < stride << 2; i += 16) {
      let v = f32x4.mul(f32x4.mul(f32x4.sub(v128.load(x + i), shift), scale), v128.load(weight + i));
      if (bias != 0) v = f32x4.add(v, v128.load(bias + i));
      if (residual != 0) v = f32x4.add(v, v128.load(residual + (y - word(pc, W_DST)) + i));
      v128.store(y + i, v);
    }
  }
}

/** RMS norm of every head of a row; a unit is a head. */
export function headNorm(pc: usize, thread: i32, threads: i32): void {
  const heads = number(pc, N_HEADS), features = number(pc, N_FEATURES), weight = word(pc, N_WEIGHT);
  const bytes = <usize>features << 2, used = bytes * <usize>heads;
  const rowBytes = word(pc, W_DST_STRIDE) << 2;
  for (let unit = thread; unit < tokens() * heads; unit += threads) {
    const token = unit / heads, at = <usize>(unit % heads) * bytes;
    const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE)) << 2) + at;
    const row = word(pc, W_DST) + <usize>token * rowBytes;
    const y = row + at;
    const scale = inverseDeviation(x, features, 0, real(pc, N_EPS));
    let i: usize = 0;
    for (; i + 16 <= bytes; i += 16) {
      v128.store(y + i, f32x4.mul(f32x4.mul(v128.load(x + i), f32x4.splat(scale)), v128.load(weight + i)));
    }
    for (; i < bytes; i += 4) store<f32>(y + i, load<f32>(x + i) * scale * load<f32>(weight + i));
    if (at == 0) memory.fill(row + used, 0, rowBytes - used);
  }
}
