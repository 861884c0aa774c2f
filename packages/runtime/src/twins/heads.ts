/** Twin of the rotary embedding (half-split layout) and of the copy into the KV cache. */
import {
  CTRL_POSITION,
  CTRL_TOKENS,
  H_AT_POSITION,
  H_COS,
  H_HEADS,
  H_HEAD_DIM,
  H_HEAD_STRIDE,
  H_SIN,
  H_TOKEN_STRIDE,
  W_DST,
  W_SRC,
  W_SRC_STRIDE,
} from "../abi.js";
import { control, floats, word, type MemoryViews } from "./memory.js";

export function heads(m: MemoryViews, pc: number): void {
  const headDim = word(m, pc, H_HEAD_DIM);
  const half = headDim / 2;
  const position = control(m, CTRL_POSITION);
  const offset = word(m, pc, H_AT_POSITION) ? position : 0;
  const cos = floats(m, pc, H_COS);
  const sin = floats(m, pc, H_SIN);
  for (let token = 0; token < control(m, CTRL_TOKENS); token++) {
    for (let head = 0; head < word(m, pc, H_HEADS); head++) {
      const x = floats(m, pc, W_SRC) + token * word(m, pc, W_SRC_STRIDE) + head * headDim;
      const y =
        floats(m, pc, W_DST) +
        (token + offset) * word(m, pc, H_TOKEN_STRIDE) +
        head * word(m, pc, H_HEAD_STRIDE);
      if (!cos) {
        m.f32.copyWithin(y, x, x + headDim);
        continue;
      }
      const angle = (position + token) * half;
      for (let i = 0; i < half; i++) {
        const [a, b] = [m.f32[x + i], m.f32[x + half + i]];
        const [c, s] = [m.f32[cos + angle + i], m.f32[sin + angle + i]];
        m.f32[y + i] = Math.fround(a * c) - Math.fround(b * s);
        m.f32[y + half + i] = Math.fround(b * c) + Math.fround(a * s);
      }
    }
  }
}
