// Rotary embedding of the heads of rows. (Attention rotates what it reads; this is for anything else that does.)
import {
  CTRL_POSITION,
  H_COS,
  H_HEADS,
  H_HEAD_DIM,
  H_ROTARY,
  H_SIN,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi";
import { rotate } from "./rotary";
import { number, tokens, word } from "./words";

export function heads(pc: usize, thread: i32, threads: i32): void {
  const count = number(pc, H_HEADS),
    headDim = word(pc, H_HEAD_DIM),
    rotary = word(pc, H_ROTARY),
    position = load<i32>(CTRL_POSITION),
    dstStride = word(pc, W_DST_STRIDE),
    used = <usize>count * headDim;
  const units = tokens() * count;
  for (let unit = thread; unit < units; unit += threads) {
    const token = unit / count,
      head = unit % count;
    const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE) + <usize>head * headDim) << 2);
    const row = word(pc, W_DST) + ((<usize>token * dstStride) << 2);
    const angle = (<usize>(position + token) * (rotary >> 1)) << 2;
    rotate(
      x,
      row + ((<usize>head * headDim) << 2),
      word(pc, H_COS) + angle,
      word(pc, H_SIN) + angle,
      rotary,
      headDim,
      1.0,
    );
    if (head == 0) memory.fill(row + (used << 2), 0, (dstStride - used) << 2);
  }
}
