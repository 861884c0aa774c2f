/** Twin of the lookup of sign rows: signs of a row of a packed matrix times what its envelope says. */
import {
  CTRL_TOKENS,
  CTRL_TOKEN_IDS,
  R_COLS,
  R_MID,
  R_RANK,
  R_SCALE,
  R_SCALE_STRIDE,
  R_TERMS,
  R_WEIGHTS,
  SIGN_ROW_TILE,
  W_DST,
  W_DST_STRIDE,
} from "../abi.js";
import { control, floats, word, type MemoryViews } from "./memory.js";

const f = Math.fround;

/** Whether the sign in column `col` of row `row` of a packed matrix is minus; `cols` with padding. */
function isMinus(m: MemoryViews, weights: number, cols: number, row: number, col: number): boolean {
  const r = row % SIGN_ROW_TILE;
  const lane = r < 8 ? 2 * r : 2 * (r - 8) + 1;
  const group = col & 7;
  const tile = weights + Math.floor(row / SIGN_ROW_TILE) * cols * 2;
  const byte = m.u8[tile + (col >>> 5) * 64 + (group >> 1) * 16 + lane];
  const code = (byte >> (4 * (group & 1))) & 15;
  const bit = (col >>> 3) & 3;
  // The last bit of a group flips the others.
  return (((code >> bit) & 1) ^ (bit < 3 ? code >> 3 : 0)) === 1;
}

export function signRows(m: MemoryViews, pc: number): void {
  const cols = word(m, pc, R_COLS);
  const rank = word(m, pc, R_RANK);
  const stride = word(m, pc, W_DST_STRIDE);
  const [scale, mid] = [R_SCALE, R_MID].map((index) => floats(m, pc, index));
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const id = control(m, CTRL_TOKEN_IDS + token * 4);
    const y = floats(m, pc, W_DST) + token * stride;
    for (let k = 0; k < rank; k++) {
      let size = 0;
      for (let term = 0; term < word(m, pc, R_TERMS); term++) {
        const by = m.f32[scale + term * word(m, pc, R_SCALE_STRIDE) + id];
        const value = mid ? f(by * m.f32[mid + term * cols + k]) : by;
        size = term > 0 ? f(size + value) : value;
      }
      m.f32[y + k] = isMinus(m, word(m, pc, R_WEIGHTS), cols, id, k) ? -size : size;
    }
    m.f32.fill(0, y + rank, y + stride);
  }
}
