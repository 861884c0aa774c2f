/** Twin of the sign GEMM: the same two roundings of the inputs, exact integer sums a block, blocks added in order. */
import {
  CTRL_HEAD_FIRST,
  CTRL_TOKENS,
  GEMM_BLOCK,
  S_IN_SCALE,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_HEAD_ONLY,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  S_TERMS,
  S_WEIGHTS,
  GEMM_LIMIT,
  ROW_PAD,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { sumLanes } from "./arithmetic.js";
import { control, floats, word, type MemoryViews } from "./memory.js";
import { nearest } from "./arithmetic.js";

/** Below this a block counts as zero: its step would overflow. */
const TINY = 1e-30;
const f = Math.fround;

interface BlockEntries {
  /** What one unit of the sums is worth. */
  readonly step: number;
  /** [group][code], whole numbers */
  readonly entries: Int32Array;
}

/** Sums of |x| over the groups of four: the largest, and all together in the order of the kernel's four lanes. */
function groupSizes(x: Float32Array): { largest: number; total: number } {
  let largest = 0;
  const lanes = [0, 0, 0, 0];
  for (let chunk = 0; chunk < x.length; chunk += SIGN_CHUNK) {
    for (let j = 0; j < 8; j++) {
      const [a, b, c, d] = [0, 8, 16, 24].map((i) => Math.abs(x[chunk + j + i]));
      const size = f(f(f(a + b) + c) + d);
      largest = Math.max(largest, size);
      lanes[j % 4] = f(lanes[j % 4] + size);
    }
  }
  return { largest, total: sumLanes(lanes[0], lanes[1], lanes[2], lanes[3]) };
}

function blockEntries(x: Float32Array): BlockEntries {
  const { largest, total } = groupSizes(x);
  const zero = !(largest > f(TINY));
  const fine = zero ? 0 : f(GEMM_LIMIT / largest);
  const room = f(f(total * fine) + GEMM_BLOCK / 2);
  const factor = Math.floor(Math.min(f((GEMM_LIMIT * 32768) / room), 32767));
  const step = zero ? 0 : f(f(largest / GEMM_LIMIT) * f(32768 / factor));
  const q = Array.from(x, (value) => nearest(f(value * fine)));
  const entries = new Int32Array(x.length * 4);
  for (let group = 0; group < x.length / 4; group++) {
    const j = Math.floor(group / 8) * SIGN_CHUNK + (group % 8);
    for (let code = 0; code < 8; code++) {
      const signed = (bit: number, value: number): number => (code & bit ? -value : value);
      const sum = signed(1, q[j]) + signed(2, q[j + 8]) + signed(4, q[j + 16]) + q[j + 24];
      const entry = Math.floor((sum * factor + 16384) / 32768);
      entries[group * 16 + code] = entry;
      entries[group * 16 + code + 8] = -entry;
    }
  }
  return { step, entries };
}

/** Row of the tile whose codes are in byte `lane` of a vector of signs. */
function rowOfByte(lane: number): number {
  return lane % 2 === 0 ? lane / 2 : 8 + (lane - 1) / 2;
}

/** Sum of one row over a block; `at` is the address of its first byte of codes. */
function rowSum(m: MemoryViews, at: number, entries: Int32Array): number {
  let sum = 0;
  for (let group = 0; group < entries.length / 16; group += 2) {
    const codes = m.u8[at + group * 8];
    sum += entries[group * 16 + (codes & 15)] + entries[group * 16 + 16 + (codes >> 4)];
  }
  return sum;
}

export function signGemm(m: MemoryViews, pc: number): void {
  const rows = word(m, pc, S_ROWS);
  const stride = word(m, pc, W_DST_STRIDE);
  const dst = floats(m, pc, W_DST);
  const first = word(m, pc, S_HEAD_ONLY) ? control(m, CTRL_HEAD_FIRST) : 0;
  for (let token = first; token < control(m, CTRL_TOKENS); token++) {
    const terms = Math.max(1, word(m, pc, S_TERMS));
    for (let term = 0; term < terms; term++) finishTerm(m, pc, token, term, term + 1 === terms);
    m.f32.fill(0, dst + token * stride + rows, dst + (token + 1) * stride);
  }
}

/** Sums of one term of one token, before its scale. */
function termSums(m: MemoryViews, pc: number, token: number, term: number): Float32Array {
  const cols = word(m, pc, S_COLS);
  const inScale = floats(m, pc, S_IN_SCALE);
  const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
  const sums = new Float32Array(word(m, pc, S_ROWS));
  for (let first = 0; first < cols; first += GEMM_BLOCK) {
    const block = m.f32.slice(x + first, x + Math.min(first + GEMM_BLOCK, cols));
    if (inScale) for (let i = 0; i < block.length; i++) block[i] *= m.f32[inScale + term * cols + first + i];
    const { step, entries } = blockEntries(block);
    for (let tile = 0; tile < sums.length; tile += SIGN_ROW_TILE) {
      const weights = word(m, pc, S_WEIGHTS) + (tile / SIGN_ROW_TILE) * cols * 2 + first * 2;
      for (let lane = 0; lane < SIGN_ROW_TILE; lane++) {
        sums[tile + rowOfByte(lane)] += f(rowSum(m, weights + lane, entries) * step);
      }
    }
  }
  return sums;
}

function finishTerm(m: MemoryViews, pc: number, token: number, term: number, last: boolean): void {
  const [scales, bias, residual, dst] = [S_SCALE, S_BIAS, S_RESIDUAL, W_DST].map((index) =>
    floats(m, pc, index),
  );
  const rows = word(m, pc, S_ROWS);
  const scale = scales + term * Math.ceil(rows / ROW_PAD) * ROW_PAD;
  termSums(m, pc, token, term).forEach((sum, r) => {
    const at = token * word(m, pc, W_DST_STRIDE) + r;
    let value = f(sum * m.f32[scale + r]);
    if (term > 0 || word(m, pc, S_ACCUMULATE)) value = f(value + m.f32[dst + at]);
    if (last && bias) value = f(value + m.f32[bias + r]);
    if (last && residual) value = f(value + m.f32[residual + at]);
    m.f32[dst + at] = value;
  });
}
