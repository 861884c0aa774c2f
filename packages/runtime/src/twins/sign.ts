/**
 * Twins of the sign product. They round and add in the kernel's order, so their results are equal to the last bit: the
 * quantisation of x would otherwise make two backends drift apart.
 */
import {
  CTRL_SCRATCH,
  CTRL_TOKENS,
  I_ACTIVATION,
  I_EPS,
  I_FEATURES,
  I_FUNCTION,
  I_KIND,
  I_OTHER,
  I_RMS,
  LUT12,
  LUT8,
  ROW_PAD,
  SIGN_BLOCK,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_IN_SCALE,
  S_PRECISION,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  S_TERMS,
  S_TERM_BYTES,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  TABLE_LIMIT,
  T_COLS,
  T_SCALE,
  T_TERMS,
  T_TERM_BYTES,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { nearest } from "./arithmetic.js";
import { activation } from "./elementwise.js";
import { control, floats, real, word, type MemoryViews } from "./memory.js";
import { inverseDeviation } from "./norm.js";

const f = Math.fround;

/** Below this a block counts as zero: its step would overflow. */
const TINY = f(1e-30);

/** How group sums are rounded and split: `low` bits in the first table, the rest in the second. */
const PRECISIONS = {
  [LUT8]: { drop: 8, low: 8, bias: 128, gap: 16 },
  [LUT12]: { drop: 4, low: 6, bias: 2048, gap: 32 },
} as const;
const LUT16_PRECISION = { drop: 0, low: 8, bias: 32768, gap: 32 };

function precisionOf(m: MemoryViews, pc: number) {
  const precision = word(m, pc, S_PRECISION);
  return precision === LUT8 || precision === LUT12 ? PRECISIONS[precision] : LUT16_PRECISION;
}

/** Largest sum of |x| over the groups of four, summed in float32 in the order of the kernel. */
function largestGroup(x: Float32Array): number {
  let largest = 0;
  for (let chunk = 0; chunk < x.length; chunk += SIGN_CHUNK) {
    for (let j = chunk; j < chunk + 8; j++) {
      let sum = f(Math.abs(x[j]) + Math.abs(x[j + 8]));
      sum = f(sum + Math.abs(x[j + 16]));
      largest = Math.max(largest, f(sum + Math.abs(x[j + 24])));
    }
  }
  return largest;
}

/** The inputs of a row as tables are made of them, and the factor that is left to the steps. */
function prepareRow(m: MemoryViews, pc: number, token: number, cols: number, scaleAt: number) {
  const at = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
  const row = m.f32.slice(at, at + cols);
  const kind = word(m, pc, I_KIND);
  const other = floats(m, pc, I_OTHER);
  let factor = 1;
  if (kind === I_RMS) {
    factor = inverseDeviation(m.f32, at, word(m, pc, I_FEATURES), 0, real(m, pc, I_EPS));
    for (let i = 0; i < cols; i++) row[i] *= m.f32[other + i];
  } else if (kind === I_ACTIVATION) {
    const partner = other + token * word(m, pc, W_SRC_STRIDE);
    for (let i = 0; i < cols; i++) {
      row[i] = activation(word(m, pc, I_FUNCTION), row[i]) * (other ? m.f32[partner + i] : 1);
    }
  }
  if (scaleAt) for (let i = 0; i < cols; i++) row[i] *= m.f32[scaleAt + i];
  return { row, factor };
}

/** Tables of one token at byte address `tables`, and behind them the steps of the blocks. */
function rowTables(m: MemoryViews, pc: number, token: number, cols: number, scaleAt: number, tables: number) {
  const { row, factor } = prepareRow(m, pc, token, cols, scaleAt);
  const { drop, low, bias, gap } = precisionOf(m, pc);
  const steps = (tables + cols * TABLE_BYTES_PER_INPUT) >>> 2;
  for (let first = 0; first < cols; first += SIGN_BLOCK) {
    const block = row.subarray(first, first + SIGN_BLOCK);
    const largest = largestGroup(block);
    const zero = !(largest > TINY);
    const quantise = zero ? 0 : f(TABLE_LIMIT / largest);
    const step = zero ? 0 : f(largest / TABLE_LIMIT) * 2 ** drop;
    m.f32[steps + first / SIGN_BLOCK] = f(step) * factor;
    const q = Array.from(block, (value) => nearest(f(value * quantise)));
    for (let group = 0; group < block.length / 4; group++) {
      const j = Math.floor(group / 8) * SIGN_CHUNK + (group % 8);
      const at = tables + first * TABLE_BYTES_PER_INPUT + group * gap;
      for (let code = 0; code < 8; code++) {
        const signed = (bit: number, value: number): number => (code & bit ? -value : value);
        const exact = signed(1, q[j]) + signed(2, q[j + 8]) + signed(4, q[j + 16]) + q[j + 24];
        const sum = (exact + ((1 << drop) >> 1)) >> drop;
        [bias + sum, bias - sum].forEach((entry, negative) => {
          m.u8[at + negative * 8 + code] = entry & ((1 << low) - 1);
          if (gap === 32) m.u8[at + 16 + negative * 8 + code] = entry >> low;
        });
      }
    }
  }
}

/** Input scales of a term. */
function scaleOf(scale: number, term: number, cols: number): number {
  return scale === 0 ? 0 : scale + term * cols;
}

export function signTables(m: MemoryViews, pc: number): void {
  const cols = word(m, pc, T_COLS);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    for (let term = 0; term < Math.max(1, word(m, pc, T_TERMS)); term++) {
      const tables =
        word(m, pc, W_DST) + token * word(m, pc, W_DST_STRIDE) + term * word(m, pc, T_TERM_BYTES);
      rowTables(m, pc, token, cols, scaleOf(floats(m, pc, T_SCALE), term, cols), tables);
    }
  }
}

/** Exact integer sums of one block for the 16 rows of a tile. */
function blockSums(m: MemoryViews, pc: number, weights: number, tables: number, chunks: number): Int32Array {
  const { low, bias, gap } = precisionOf(m, pc);
  const entry = (at: number): number => (gap === 32 ? m.u8[at + 16] << low : 0) + m.u8[at] - bias;
  const sums = new Int32Array(SIGN_ROW_TILE);
  for (let vector = 0; vector < chunks * 4; vector++) {
    for (let lane = 0; lane < 16; lane++) {
      const codes = m.u8[weights + vector * 16 + lane];
      const row = lane % 2 === 0 ? lane / 2 : 8 + (lane - 1) / 2;
      const table = tables + vector * 2 * gap;
      sums[row] += entry(table + (codes & 15)) + entry(table + gap + (codes >> 4));
    }
  }
  return sums;
}

/** One term of one row of dst, from its tables. */
function rowProduct(m: MemoryViews, pc: number, token: number, tables: number, term: number): void {
  const rows = word(m, pc, S_ROWS);
  const cols = word(m, pc, S_COLS);
  const stride = word(m, pc, W_DST_STRIDE);
  const [scales, bias, residual, dst] = [S_SCALE, S_BIAS, S_RESIDUAL, W_DST].map((index) =>
    floats(m, pc, index),
  );
  const scale = scales + term * Math.ceil(rows / ROW_PAD) * ROW_PAD;
  const last = term + 1 === termsOf(m, pc);
  const steps = (tables + cols * TABLE_BYTES_PER_INPUT) >>> 2;
  for (let tile = 0; tile < rows; tile += SIGN_ROW_TILE) {
    const acc = new Float32Array(SIGN_ROW_TILE);
    for (let first = 0; first < cols; first += SIGN_BLOCK) {
      const weights = word(m, pc, S_WEIGHTS) + (tile / SIGN_ROW_TILE) * cols * 2 + first * 2;
      const chunks = Math.min(SIGN_BLOCK, cols - first) / SIGN_CHUNK;
      const sums = blockSums(m, pc, weights, tables + first * TABLE_BYTES_PER_INPUT, chunks);
      const step = m.f32[steps + first / SIGN_BLOCK];
      for (let r = 0; r < SIGN_ROW_TILE; r++) acc[r] += f(f(sums[r]) * step);
    }
    for (let r = 0; r < SIGN_ROW_TILE; r++) {
      const at = token * stride + tile + r;
      let value = f(acc[r] * m.f32[scale + tile + r]);
      if (term > 0 || word(m, pc, S_ACCUMULATE)) value = f(value + m.f32[dst + at]);
      if (last && bias) value = f(value + m.f32[bias + tile + r]);
      if (last && residual) value = f(value + m.f32[residual + at]);
      m.f32[dst + at] = value;
    }
  }
  m.f32.fill(0, dst + token * stride + rows, dst + (token + 1) * stride);
}

function termsOf(m: MemoryViews, pc: number): number {
  return Math.max(1, word(m, pc, S_TERMS));
}

export function signProduct(m: MemoryViews, pc: number): void {
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    for (let term = 0; term < termsOf(m, pc); term++) {
      const tables =
        word(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE) + term * word(m, pc, S_TERM_BYTES);
      rowProduct(m, pc, token, tables, term);
    }
  }
}

/** Tables go to the scratch of thread 0. */
export function signMultiply(m: MemoryViews, pc: number): void {
  const tables = control(m, CTRL_SCRATCH);
  const cols = word(m, pc, S_COLS);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    for (let term = 0; term < termsOf(m, pc); term++) {
      rowTables(m, pc, token, cols, scaleOf(floats(m, pc, S_IN_SCALE), term, cols), tables);
      rowProduct(m, pc, token, tables, term);
    }
  }
}
