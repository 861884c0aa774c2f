// Activations, sums and products over whole padded rows; zero padding stays zero.
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_RELU,
  ACT_SILU,
  CTRL_HEAD_FIRST,
  CTRL_SHORTLIST,
  E_OTHER,
  G_FACTOR,
  G_HEAD_ONLY,
  W_DST,
  W_SRC,
  W_SRC_STRIDE,
  X_KIND,
  X_TIMES,
} from "../src/abi";
import { exp4 } from "./simd";
import { number, real, shareStart, tokens, word } from "./words";

// @ts-ignore: decorator
@inline
function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

/** x Phi(x). Phi by the rational approximation of erf of Abramowitz and Stegun, 7.1.26 (absolute error 1.5e-7). */
function gelu(x: v128): v128 {
  const z = f32x4.mul(f32x4.abs(x), f32x4.splat(0.70710678));
  const one = f32x4.splat(1);
  const t = f32x4.div(one, f32x4.add(one, f32x4.mul(z, f32x4.splat(0.3275911))));
  let p = f32x4.splat(1.061405429);
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(-1.453152027));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(1.421413741));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(-0.284496736));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.254829592));
  // 1 - erf(|x| / sqrt 2), halved: the tail on the far side of zero.
  const tail = f32x4.mul(f32x4.mul(f32x4.mul(p, t), exp4(f32x4.neg(f32x4.mul(z, z)))), f32x4.splat(0.5));
  const phi = v128.bitselect(tail, f32x4.sub(one, tail), f32x4.lt(x, f32x4.splat(0)));
  return f32x4.mul(x, phi);
}

function geluTanh(x: v128): v128 {
  // (1 + tanh u) / 2 = sigmoid(2u)
  const cube = f32x4.mul(f32x4.mul(x, x), x);
  const u = f32x4.mul(f32x4.add(x, f32x4.mul(cube, f32x4.splat(0.044715))), f32x4.splat(1.5957691216));
  return f32x4.mul(x, sigmoid(u));
}

/** act(x); `kind` is a constant at every call. */
// @ts-ignore: decorator
@inline
function activation(kind: i32, x: v128): v128 {
  if (kind == ACT_SILU) return f32x4.mul(x, sigmoid(x));
  if (kind == ACT_GELU) return gelu(x);
  if (kind == ACT_GELU_TANH) return geluTanh(x);
  return f32x4.max(x, f32x4.splat(0));
}

// @ts-ignore: decorator
@inline
function activateBy(kind: i32, x: usize, times: usize, bytes: usize, out: usize): void {
  if (times == 0) {
    for (let i: usize = 0; i < bytes; i += 16) v128.store(out + i, activation(kind, v128.load(x + i)));
  } else {
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(out + i, f32x4.mul(activation(kind, v128.load(x + i)), v128.load(times + i)));
    }
  }
}

/** out = act(x) (o times, where it is not 0) for a kind of X_KIND. */
export function activateRow(kind: i32, x: usize, times: usize, bytes: usize, out: usize): void {
  if (kind == ACT_SILU) activateBy(ACT_SILU, x, times, bytes, out);
  else if (kind == ACT_GELU) activateBy(ACT_GELU, x, times, bytes, out);
  else if (kind == ACT_GELU_TANH) activateBy(ACT_GELU_TANH, x, times, bytes, out);
  else activateBy(ACT_RELU, x, times, bytes, out);
}

export function activate(pc: usize, thread: i32, threads: i32): void {
  const times = word(pc, X_TIMES);
  const vectors = (tokens() * number(pc, W_SRC_STRIDE)) >> 2;
  const begin = <usize>shareStart(vectors, thread, threads) << 4;
  const end = <usize>shareStart(vectors, thread + 1, threads) << 4;
  // prettier-ignore
  activateRow(number(pc, X_KIND), word(pc, W_SRC) + begin, times == 0 ? 0 : times + begin, end - begin, word(pc, W_DST) + begin);
}

export function add(pc: usize, thread: i32, threads: i32): void {
  const a = word(pc, W_SRC), b = word(pc, E_OTHER), dst = word(pc, W_DST);
  const vectors = (tokens() * number(pc, W_SRC_STRIDE)) >> 2;
  const end = <usize>shareStart(vectors, thread + 1, threads) << 4;
  for (let i = <usize>shareStart(vectors, thread, threads) << 4; i < end; i += 16) {
    v128.store(dst + i, f32x4.add(v128.load(a + i), v128.load(b + i)));
  }
}

export function multiply(pc: usize, thread: i32, threads: i32): void {
  const a = word(pc, W_SRC), b = word(pc, E_OTHER), dst = word(pc, W_DST);
  const vectors = (tokens() * number(pc, W_SRC_STRIDE)) >> 2;
  const end = <usize>shareStart(vectors, thread + 1, threads) << 4;
  for (let i = <usize>shareStart(vectors, thread, threads) << 4; i < end; i += 16) {
    v128.store(dst + i, f32x4.mul(v128.load(a + i), v128.load(b + i)));
  }
}

export function scale(pc: usize, thread: i32, threads: i32): void {
  const src = word(pc, W_SRC), dst = word(pc, W_DST), factor = f32x4.splat(real(pc, G_FACTOR));
  const vectors = (tokens() * number(pc, W_SRC_STRIDE)) >> 2;
  const end = <usize>shareStart(vectors, thread + 1, threads) << 4;
  for (let i = <usize>shareStart(vectors, thread, threads) << 4; i < end; i += 16) {
    v128.store(dst + i, f32x4.mul(v128.load(src + i), factor));
  }
}

/** tanh x = 1 - 2 / (e^2x + 1), to a few ulp of 1. */
export function tanh4(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(exp4(f32x4.add(x, x)), one)));
}

export function softcap(pc: usize, thread: i32, threads: i32): void {
  const head = number(pc, G_HEAD_ONLY) != 0;
  // Those who look for the largest logits cap the few they find.
  if (head && load<i32>(CTRL_SHORTLIST) != 0) return;
  const src = word(pc, W_SRC), dst = word(pc, W_DST), cap = f32x4.splat(real(pc, G_FACTOR));
  const stride = number(pc, W_SRC_STRIDE) >> 2;
  const first = head ? load<i32>(CTRL_HEAD_FIRST) * stride : 0, vectors = tokens() * stride - first;
  const end = <usize>(first + shareStart(vectors, thread + 1, threads)) << 4;
  for (let i = <usize>(first + shareStart(vectors, thread, threads)) << 4; i < end; i += 16) {
    v128.store(dst + i, f32x4.mul(tanh4(f32x4.div(v128.load(src + i), cap)), cap));
  }
}
