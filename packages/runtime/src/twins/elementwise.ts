/** Twins of activations, sums and products. */
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_SILU,
  CTRL_TOKENS,
  E_OTHER,
  W_DST,
  W_SRC,
  W_SRC_STRIDE,
  X_KIND,
  X_TIMES,
} from "../abi.js";
import { control, floats, word, type MemoryViews } from "./memory.js";

/** Abramowitz and Stegun 7.1.26, absolute error 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - p * Math.exp(-x * x));
}

function activation(kind: number, x: number): number {
  if (kind === ACT_SILU) return x / (1 + Math.exp(-x));
  if (kind === ACT_GELU) return 0.5 * x * (1 + erf(x * Math.SQRT1_2));
  if (kind === ACT_GELU_TANH)
    return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
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
