/** Twin of the rotary embedding of the heads of rows. */
import {
  CTRL_POSITION,
  CTRL_TOKENS,
  H_COS,
  H_HEADS,
  H_HEAD_DIM,
  H_ROTARY,
  H_SIN,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { control, floats, word, type MemoryViews } from "./memory.js";
import { rotate } from "./rotary.js";

export function heads(m: MemoryViews, pc: number): void {
  const headDim = word(m, pc, H_HEAD_DIM);
  const used = word(m, pc, H_HEADS) * headDim;
  const stride = word(m, pc, W_DST_STRIDE);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    const angles = {
      rotary: word(m, pc, H_ROTARY),
      cos: floats(m, pc, H_COS),
      sin: floats(m, pc, H_SIN),
      position: control(m, CTRL_POSITION) + token,
    };
    const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE);
    const y = floats(m, pc, W_DST) + token * stride;
    for (let i = 0; i < used; i += headDim) m.f32.set(rotate(m.f32, x + i, headDim, angles, 1), y + i);
    m.f32.fill(0, y + used, y + stride);
  }
}
