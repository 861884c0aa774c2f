// Rows of the embedding table for the ids of the tile.
import {
  CTRL_POSITION,
  CTRL_TOKEN_IDS,
  DTYPE_I2,
  M_COLS,
  M_DTYPE,
  M_FIRST_ROW,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  M_WIDTH,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { widen } from "./dense";
import { number, tokens, word } from "./words";

export function embed(pc: usize, thread: i32, threads: i32): void {
  const cols = number(pc, M_COLS),
    scales = word(pc, M_ROW_SCALES),
    stride = word(pc, W_DST_STRIDE);
  for (let token = thread; token < tokens(); token += threads) {
    const id = load<usize>(<usize>CTRL_TOKEN_IDS + ((<usize>token) << 2));
    const out = word(pc, W_DST) + ((<usize>token * stride) << 2);
    widen(number(pc, M_DTYPE), word(pc, M_WEIGHTS) + id * word(pc, M_ROW_BYTES), out, cols);
    if (scales != 0) {
      const scale = v128.load32_splat(scales + (id << 2));
      for (let at = out, end = out + ((<usize>cols) << 2); at < end; at += 16)
        v128.store(at, f32x4.mul(v128.load(at), scale));
    }
    const width = number(pc, M_DTYPE) == DTYPE_I2 ? word(pc, M_WIDTH) : <usize>cols;
    memory.fill(out + (width << 2), 0, (stride - width) << 2);
  }
}

/** The row of each token's position added to it. */
export function positions(pc: usize, thread: i32, threads: i32): void {
  const cols = number(pc, M_COLS),
    stride = word(pc, W_DST_STRIDE),
    first = load<i32>(CTRL_POSITION) + number(pc, M_FIRST_ROW);
  for (let token = thread; token < tokens(); token += threads) {
    const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE)) << 2);
    const out = word(pc, W_DST) + ((<usize>token * stride) << 2);
    const row = word(pc, M_WEIGHTS) + <usize>(first + token) * word(pc, M_ROW_BYTES);
    widen(number(pc, M_DTYPE), row, out, cols);
    memory.fill(out + ((<usize>cols) << 2), 0, (stride - <usize>cols) << 2);
    for (let i: usize = 0; i < stride << 2; i += 16) {
      v128.store(out + i, f32x4.add(v128.load(x + i), v128.load(out + i)));
    }
  }
}
