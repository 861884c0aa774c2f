/**
 * Twins of the sign product (lut12). They round and add in the kernel's order, so their results are equal to the last bit:
 * the quantisation of x would otherwise make two backends drift apart.
 */
import {
  CTRL_TOKENS,
  SIGN_BLOCK,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  TABLE_LIMIT,
  TABLE_SHIFT,
  T_COLS,
  T_SCALE,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { control, floats, word, type MemoryViews } from "./memory.js";

/** Below this a block counts as zero: its step would overflow. */
const TINY = 1e-30;

/** Nearest even integer, by the rounding of a float32 sum. */
function nearest(x: number): number {
  return Math.fround(x + 12582912) - 12582912;
}

/** Largest sum of |x| over the groups of four, summed in float32 in the order of the kernel. */
function largestGroup(x: Float32Array): number {
  let largest = 0;
  for (let chunk = 0; chunk < x.length; chunk += SIGN_CHUNK) {
    for (let j = chunk; j < chunk + 8; j++) {
      let sum = Math.fround(Math.abs(x[j]) + Math.abs(x[j + 8]));
      sum = Math.fround(sum + Math.abs(x[j + 16]));
      largest = Math.max(largest, Math.fround(sum + Math.abs(x[j + 24])));
    }
  }
  return largest;
}

export function signTables(m: MemoryViews, pc: number): void {
  const cols = word(m, pc, T_COLS);
  const scale = floats(m, pc, T_SCALE);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const tables = word(m, pc, W_DST) + token * word(m, pc, W_DST_STRIDE);
    const steps = (tables + cols * TABLE_BYTES_PER_INPUT) >>> 2;
    for (let first = 0; first < cols; first += SIGN_BLOCK) {
      const block = m.f32.slice(x + first, x + Math.min(first + SIGN_BLOCK, cols));
      if (scale) for (let i = 0; i < block.length; i++) block[i] *= m.f32[scale + first + i];
      const largest = largestGroup(block);
      const zero = !(largest > Math.fround(TINY));
      const factor = zero ? 0 : Math.fround(TABLE_LIMIT / largest);
      m.f32[steps + first / SIGN_BLOCK] = zero ? 0 : Math.fround(largest / TABLE_LIMIT) * 2 ** TABLE_SHIFT;
      const q = Array.from(block, (value) => nearest(Math.fround(value * factor)));
      for (let group = 0; group < block.length / 4; group++) {
        const j = Math.floor(group / 8) * SIGN_CHUNK + (group % 8);
        const at = tables + (first / 4 + group) * 32;
        for (let code = 0; code < 8; code++) {
          const signed = (bit: number, value: number): number => (code & bit ? -value : value);
          const exact = signed(1, q[j]) + signed(2, q[j + 8]) + signed(4, q[j + 16]) + q[j + 24];
          const sum = (exact + (1 << (TABLE_SHIFT - 1))) >> TABLE_SHIFT;
          [2048 + sum, 2048 - sum].forEach((entry, negative) => {
            m.u8[at + negative * 8 + code] = entry & 63;
            m.u8[at + 16 + negative * 8 + code] = entry >> 6;
          });
        }
      }
    }
  }
}

/** Exact integer sums of one block for the 16 rows of a tile. */
function blockSums(m: MemoryViews, weights: number, tables: number, chunks: number): Int32Array {
  const sums = new Int32Array(SIGN_ROW_TILE);
  for (let vector = 0; vector < chunks * 4; vector++) {
    for (let lane = 0; lane < 16; lane++) {
      const codes = m.u8[weights + vector * 16 + lane];
      const row = lane % 2 === 0 ? lane / 2 : 8 + (lane - 1) / 2;
      const first = tables + vector * 64 + (codes & 15);
      const second = tables + vector * 64 + 32 + (codes >> 4);
      sums[row] += (m.u8[first + 16] << 6) + m.u8[first] - 2048;
      sums[row] += (m.u8[second + 16] << 6) + m.u8[second] - 2048;
    }
  }
  return sums;
}

export function signProduct(m: MemoryViews, pc: number): void {
  const rows = word(m, pc, S_ROWS);
  const cols = word(m, pc, S_COLS);
  const stride = word(m, pc, W_DST_STRIDE);
  const [scale, bias, residual, dst] = [S_SCALE, S_BIAS, S_RESIDUAL, W_DST].map((index) =>
    floats(m, pc, index),
  );
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const tables = word(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const steps = (tables + cols * TABLE_BYTES_PER_INPUT) >>> 2;
    for (let tile = 0; tile < rows; tile += SIGN_ROW_TILE) {
      const acc = new Float32Array(SIGN_ROW_TILE);
      for (let first = 0; first < cols; first += SIGN_BLOCK) {
        const weights = word(m, pc, S_WEIGHTS) + (tile / SIGN_ROW_TILE) * cols * 2 + first * 2;
        const chunks = Math.min(SIGN_BLOCK, cols - first) / SIGN_CHUNK;
        const sums = blockSums(m, weights, tables + first * TABLE_BYTES_PER_INPUT, chunks);
        const step = m.f32[steps + first / SIGN_BLOCK];
        for (let r = 0; r < SIGN_ROW_TILE; r++) acc[r] += Math.fround(Math.fround(sums[r]) * step);
      }
      for (let r = 0; r < SIGN_ROW_TILE; r++) {
        const at = token * stride + tile + r;
        let value = Math.fround(acc[r] * m.f32[scale + tile + r]);
        if (word(m, pc, S_ACCUMULATE)) value = Math.fround(value + m.f32[dst + at]);
        if (bias) value = Math.fround(value + m.f32[bias + tile + r]);
        if (residual) value = Math.fround(value + m.f32[residual + at]);
        m.f32[dst + at] = value;
      }
    }
    m.f32.fill(0, dst + token * stride + rows, dst + (token + 1) * stride);
  }
}
