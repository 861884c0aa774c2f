/** Twins of the loading kernels: stored signs, floats, codes and rows into the form the other kernels read. */
import { bf16ToF32, f16ToF32, paddingIsClear, transposeSigns, type SignMatrix } from "@subbit/core";
import {
  C_DST_BYTES,
  C_FILL,
  C_ROWS,
  C_SRC_BYTES,
  C_UPPER,
  DTYPE_F16,
  DTYPE_F32,
  L_DAMAGED,
  P_COLS,
  P_ROWS,
  P_TILE_BYTES,
  P_TRANSPOSED,
  SIGN_CHUNK,
  V_BY,
  V_COUNT,
  V_DTYPE,
  V_FINITE,
  V_LEVELS,
  W_DST,
  W_SRC,
} from "../abi.js";
import { packSigns, packedSignBytes } from "../weights/pack-signs.js";
import { floats, real, word, type MemoryViews, type Twin } from "./memory.js";

/** Bytes of a copy, so that a stored tensor may begin anywhere. */
function stored(m: MemoryViews, pc: number, bytes: number): ArrayBuffer {
  const at = word(m, pc, W_SRC);
  return Uint8Array.from(m.u8.subarray(at, at + bytes)).buffer;
}

function damaged(m: MemoryViews, pc: number): void {
  m.u32[(pc >>> 2) + L_DAMAGED] = 1;
}

export const packStoredSigns: Twin = (m, pc) => {
  const [rows, cols] = [word(m, pc, P_ROWS), word(m, pc, P_COLS)];
  const words = new Uint32Array(stored(m, pc, rows * Math.ceil(cols / 32) * 4));
  const matrix: SignMatrix = { rows, cols, words };
  if (!paddingIsClear(matrix)) return damaged(m, pc);
  const signs = word(m, pc, P_TRANSPOSED) === 0 ? matrix : transposeSigns(matrix);
  const packed = new Uint8Array(packedSignBytes(signs.rows, signs.cols));
  packSigns(signs, packed);
  const partBytes = Math.ceil(signs.cols / SIGN_CHUNK) * 64;
  for (let tile = 0; tile * partBytes < packed.length; tile++) {
    const part = packed.subarray(tile * partBytes, (tile + 1) * partBytes);
    m.u8.set(part, word(m, pc, W_DST) + tile * word(m, pc, P_TILE_BYTES));
  }
};

export const widenValues: Twin = (m, pc) => {
  const [count, dtype] = [word(m, pc, V_COUNT), word(m, pc, V_DTYPE)];
  const bytes = stored(m, pc, count * (dtype === DTYPE_F32 ? 4 : 2));
  let values: Float32Array;
  if (dtype === DTYPE_F32) values = new Float32Array(bytes);
  else if (dtype === DTYPE_F16) values = f16ToF32(new Uint16Array(bytes));
  else values = bf16ToF32(new Uint16Array(bytes));
  m.u8.set(new Uint8Array(values.buffer), word(m, pc, W_DST));
  if (word(m, pc, V_FINITE) !== 0 && !values.every(Number.isFinite)) damaged(m, pc);
};

export const levels: Twin = (m, pc) => {
  const codes = new Uint8Array(stored(m, pc, word(m, pc, V_COUNT)));
  codes.forEach((code, i) => (m.f32[floats(m, pc, W_DST) + i] = m.f32[floats(m, pc, V_LEVELS) + code]));
};

export const timesBase: Twin = (m, pc) => {
  const [base, dst] = [W_SRC, W_DST].map((index) => floats(m, pc, index));
  // Adding zero leaves no -0.
  for (let i = 0; i < word(m, pc, V_COUNT); i++) m.f32[dst + i] = m.f32[dst + i] * m.f32[base] + 0;
};

export const shift: Twin = (m, pc) => {
  const dst = floats(m, pc, W_DST);
  for (let i = 0; i < word(m, pc, V_COUNT); i++) m.f32[dst + i] += real(m, pc, V_BY);
};

export const copyRows: Twin = (m, pc) => {
  const [rows, from, to] = [C_ROWS, C_SRC_BYTES, C_DST_BYTES].map((index) => word(m, pc, index));
  const upper = word(m, pc, C_UPPER);
  for (let row = 0; row < rows; row++) {
    const source = word(m, pc, W_SRC) + row * from;
    const at = word(m, pc, W_DST) + row * to;
    m.u8.copyWithin(at, source, source + from);
    m.u8.fill(word(m, pc, C_FILL), at + from, at + to);
    if (upper !== 0) m.u8[at + from - 1] = (m.u8[at + from - 1] & 15) | upper;
  }
};
