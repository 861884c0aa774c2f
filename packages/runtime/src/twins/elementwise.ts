/** Twins of activations, sums and products. */
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_SILU,
  CTRL_HEAD_FIRST,
  CTRL_SHORTLIST,
  CTRL_TOKENS,
  E_OTHER,
  G_FACTOR,
  G_HEAD_ONLY,
  W_DST,
  W_SRC,
  W_SRC_STRIDE,
  X_KIND,
  X_TIMES,
} from "../abi.js";
import { exp } from "./arithmetic.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";

const f = Math.fround;

function sigmoid(x: number): number {
  return f(1 / f(1 + exp(-x)));
}

/** Of erfc, by Abramowitz and Stegun 7.1.26, highest power first; absolute error 1.5e-7. */
const ERFC_POLYNOMIAL = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592].map(f);

function gelu(x: number): number {
  const z = f(Math.abs(x) * f(0.70710678));
  const t = f(1 / f(1 + f(z * f(0.3275911))));
  let p = ERFC_POLYNOMIAL[0];
  for (let i = 1; i < ERFC_POLYNOMIAL.length; i++) p = f(f(p * t) + ERFC_POLYNOMIAL[i]);
  const tail = f(f(f(p * t) * exp(-f(z * z))) * 0.5);
  return f(x * (x < 0 ? tail : f(1 - tail)));
}

function geluTanh(x: number): number {
  const cube = f(f(x * x) * x);
  return f(x * sigmoid(f(f(x + f(cube * f(0.044715))) * f(1.5957691216))));
}

/** act(x) for a kind of X_KIND. */
export function activation(kind: number, x: number): number {
  if (kind === ACT_SILU) return f(x * sigmoid(x));
  if (kind === ACT_GELU) return gelu(x);
  if (kind === ACT_GELU_TANH) return geluTanh(x);
  return Math.max(x, 0);
}

/** Calls `each` with indices into f32 of src, dst and the other operand for every float of the tile. */
function forEach(m: MemoryViews, pc: number, each: (src: number, dst: number, i: number) => void): void {
  const count = control(m, CTRL_TOKENS) * word(m, pc, W_SRC_STRIDE);
  const src = floats(m, pc, W_SRC);
  const dst = floats(m, pc, W_DST);
  for (let i = 0; i < count; i++) each(src + i, dst + i, i);
}

export function activate(m: MemoryViews, pc: number): void {
  const kind = word(m, pc, X_KIND);
  const times = floats(m, pc, X_TIMES);
  forEach(m, pc, (src, dst, i) => {
    m.f32[dst] = activation(kind, m.f32[src]) * (times ? m.f32[times + i] : 1);
  });
}

export function add(m: MemoryViews, pc: number): void {
  const other = floats(m, pc, E_OTHER);
  forEach(m, pc, (src, dst, i) => {
    m.f32[dst] = m.f32[src] + m.f32[other + i];
  });
}

export function multiply(m: MemoryViews, pc: number): void {
  const other = floats(m, pc, E_OTHER);
  forEach(m, pc, (src, dst, i) => {
    m.f32[dst] = m.f32[src] * m.f32[other + i];
  });
}

export function scale(m: MemoryViews, pc: number): void {
  const factor = real(m, pc, G_FACTOR);
  forEach(m, pc, (src, dst) => {
    m.f32[dst] = m.f32[src] * factor;
  });
}

/** tanh x as `tanh4` of the kernels computes it. */
export function tanh(x: number): number {
  return f(1 - f(2 / f(exp(f(x + x)) + 1)));
}

/** cap * tanh(x / cap), cap a float32. */
export function capped(x: number, cap: number): number {
  return f(tanh(f(x / cap)) * cap);
}

export function softcap(m: MemoryViews, pc: number): void {
  const head = word(m, pc, G_HEAD_ONLY) !== 0;
  if (head && control(m, CTRL_SHORTLIST) !== 0) return;
  const first = head ? control(m, CTRL_HEAD_FIRST) * word(m, pc, W_SRC_STRIDE) : 0;
  const cap = real(m, pc, G_FACTOR);
  forEach(m, pc, (src, dst, i) => {
    if (i >= first) m.f32[dst] = capped(m.f32[src], cap);
  });
}
