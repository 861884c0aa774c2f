/** Twin of the dense product and of the embedding lookup: y = W x (* row scale) (+ bias) (+ residual). */
import {
  CTRL_HEAD_FIRST,
  CTRL_POSITION,
  CTRL_SHORTLIST,
  CTRL_TOKENS,
  CTRL_TOKEN_IDS,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  DTYPE_I2,
  DTYPE_I8,
  M_BIAS,
  M_COLS,
  M_DTYPE,
  M_FIRST_ROW,
  M_HEAD_ONLY,
  M_RESIDUAL,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  M_WIDTH,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { bf16ToF32, f16ToF32 } from "@subbit/core";
import { dot } from "./arithmetic.js";
import { control, floats, word, type MemoryViews } from "./memory.js";

/** One row of any dtype as numbers; row scales not applied. */
export function readRow(m: MemoryViews, dtype: number, at: number, cols: number): Float32Array {
  const half = m.u16.subarray(at >>> 1, (at >>> 1) + cols);
  if (dtype === DTYPE_F32) return m.f32.subarray(at >>> 2, (at >>> 2) + cols);
  if (dtype === DTYPE_F16) return f16ToF32(half);
  if (dtype === DTYPE_BF16) return bf16ToF32(half);
  if (dtype === DTYPE_I8) return Float32Array.from(m.i8.subarray(at, at + cols));
  const row = new Float32Array(cols);
  if (dtype === DTYPE_I2) {
    for (let i = 0; i < cols; i++) row[i] = ((m.u8[at + (i >>> 2)] >>> ((i & 3) * 2)) & 3) - 1.5;
    return row;
  }
  for (let i = 0; i < cols; i++) row[i] = ((m.u8[at + (i >>> 1)] >>> ((i & 1) * 4)) & 15) - 8;
  return row;
}

/** Columns of a row that are weights: 2-bit codes have none for zero, so what pads their rows does not count. */
export function widthOf(m: MemoryViews, pc: number): number {
  return word(m, pc, word(m, pc, M_DTYPE) === DTYPE_I2 ? M_WIDTH : M_COLS);
}

export function dense(m: MemoryViews, pc: number): void {
  // Where only the largest logits are wanted, shortlist.ts finds them.
  if (word(m, pc, M_HEAD_ONLY) && control(m, CTRL_SHORTLIST)) return;
  const rows = word(m, pc, M_ROWS);
  const cols = word(m, pc, M_COLS);
  const [scales, bias, residual] = [M_ROW_SCALES, M_BIAS, M_RESIDUAL].map((index) => floats(m, pc, index));
  const first = word(m, pc, M_HEAD_ONLY) ? control(m, CTRL_HEAD_FIRST) : 0;
  const last = control(m, CTRL_TOKENS);
  const stride = word(m, pc, W_DST_STRIDE);
  for (let r = 0; r < rows; r++) {
    const row = readRow(m, word(m, pc, M_DTYPE), word(m, pc, M_WEIGHTS) + r * word(m, pc, M_ROW_BYTES), cols);
    for (let token = first; token < last; token++) {
      const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
      let sum = dot(m.fused, row, 0, m.f32, x, cols);
      if (scales) sum = Math.fround(sum * m.f32[scales + r]);
      if (bias) sum = Math.fround(sum + m.f32[bias + r]);
      if (residual) sum = Math.fround(sum + m.f32[residual + token * stride + r]);
      m.f32[floats(m, pc, W_DST) + token * stride + r] = sum;
    }
  }
  for (let token = first; token < last; token++) {
    const y = floats(m, pc, W_DST) + token * stride;
    m.f32.fill(0, y + rows, y + stride);
  }
}

export function embed(m: MemoryViews, pc: number): void {
  const cols = word(m, pc, M_COLS);
  const stride = word(m, pc, W_DST_STRIDE);
  const scales = floats(m, pc, M_ROW_SCALES);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const id = m.u32[(CTRL_TOKEN_IDS >>> 2) + token];
    const row = readRow(
      m,
      word(m, pc, M_DTYPE),
      word(m, pc, M_WEIGHTS) + id * word(m, pc, M_ROW_BYTES),
      cols,
    );
    const y = floats(m, pc, W_DST) + token * stride;
    const width = widthOf(m, pc);
    for (let i = 0; i < width; i++) m.f32[y + i] = scales ? row[i] * m.f32[scales + id] : row[i];
    m.f32.fill(0, y + width, y + stride);
  }
}

export function positions(m: MemoryViews, pc: number): void {
  const cols = word(m, pc, M_COLS);
  const stride = word(m, pc, W_DST_STRIDE);
  const first = control(m, CTRL_POSITION) + word(m, pc, M_FIRST_ROW);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const at = word(m, pc, M_WEIGHTS) + (first + token) * word(m, pc, M_ROW_BYTES);
    const row = readRow(m, word(m, pc, M_DTYPE), at, cols);
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    for (let i = 0; i < stride; i++) m.f32[y + i] = m.f32[x + i] + (i < cols ? row[i] : 0);
  }
}
