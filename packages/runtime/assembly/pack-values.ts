// Vectors and rows as the file has them into memory: floats widened to f32, exactly, codes of scales looked up, and rows padded.
import {
  C_DST_BYTES,
  C_FILL,
  C_ROWS,
  C_SRC_BYTES,
  C_UPPER,
  DTYPE_F16,
  DTYPE_F32,
  L_DAMAGED,
  V_BY,
  V_COUNT,
  V_DTYPE,
  V_FINITE,
  V_LEVELS,
  W_DST,
  W_SRC,
} from "../src/abi";
import { number, real, shareStart, word } from "./words";

const EXPONENT: i32 = 0x7f800000;

/** The f32 bits of a binary16 pattern; subnormals, infinities and the payload of a NaN are kept. */
function halfBits(half: i32): i32 {
  const sign = (half & 0x8000) << 16, rest = (half & 0x7fff) << 13;
  if ((half & 0x7c00) == 0x7c00) return sign | EXPONENT | rest;
  // As f32 bits `rest` is the value divided by 2^112.
  return sign | reinterpret<i32>(reinterpret<f32>(rest) * reinterpret<f32>(0x77800000));
}

export function widenValues(pc: usize, thread: i32, threads: i32): void {
  const src = word(pc, W_SRC), dst = word(pc, W_DST), dtype = number(pc, V_DTYPE);
  const count = number(pc, V_COUNT), end = shareStart(count, thread + 1, threads);
  let infinite = false;
  for (let i = shareStart(count, thread, threads); i < end; i++) {
    let bits: i32;
    if (dtype == DTYPE_F32) bits = load<i32>(src + (<usize>i << 2));
    else {
      const half = <i32>load<u16>(src + (<usize>i << 1));
      bits = dtype == DTYPE_F16 ? halfBits(half) : half << 16;
    }
    infinite = infinite || (bits & EXPONENT) == EXPONENT;
    store<i32>(dst + (<usize>i << 2), bits);
  }
  if (infinite && number(pc, V_FINITE) != 0) store<i32>(pc + (L_DAMAGED << 2), 1);
}

export function levels(pc: usize, thread: i32, threads: i32): void {
  const src = word(pc, W_SRC), dst = word(pc, W_DST), table = word(pc, V_LEVELS);
  const count = number(pc, V_COUNT), end = shareStart(count, thread + 1, threads);
  for (let i = shareStart(count, thread, threads); i < end; i++) {
    store<f32>(dst + (<usize>i << 2), load<f32>(table + (<usize>load<u8>(src + <usize>i) << 2)));
  }
}

export function timesBase(pc: usize, thread: i32, threads: i32): void {
  const dst = word(pc, W_DST), base = load<f32>(word(pc, W_SRC));
  const count = number(pc, V_COUNT), end = shareStart(count, thread + 1, threads);
  // Adding zero leaves no -0: a zero has no sign.
  for (let i = shareStart(count, thread, threads); i < end; i++) {
    const at = dst + (<usize>i << 2);
    store<f32>(at, load<f32>(at) * base + 0);
  }
}

export function shift(pc: usize, thread: i32, threads: i32): void {
  const dst = word(pc, W_DST), by = real(pc, V_BY);
  const count = number(pc, V_COUNT), end = shareStart(count, thread + 1, threads);
  for (let i = shareStart(count, thread, threads); i < end; i++) {
    const at = dst + (<usize>i << 2);
    store<f32>(at, load<f32>(at) + by);
  }
}

export function copyRows(pc: usize, thread: i32, threads: i32): void {
  const src = word(pc, W_SRC), dst = word(pc, W_DST);
  const from = word(pc, C_SRC_BYTES), to = word(pc, C_DST_BYTES), upper = number(pc, C_UPPER);
  const rows = number(pc, C_ROWS), end = shareStart(rows, thread + 1, threads);
  for (let row = shareStart(rows, thread, threads); row < end; row++) {
    const at = dst + <usize>row * to;
    memory.copy(at, src + <usize>row * from, from);
    memory.fill(at + from, <u8>number(pc, C_FILL), to - from);
    const last = at + from - 1;
    if (upper != 0) store<u8>(last, (load<u8>(last) & 15) | upper);
  }
}
