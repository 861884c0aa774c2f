// Rotary embedding (half-split layout) of the heads of a row, or a plain copy; into a buffer or into the KV cache.
import {
  CTRL_POSITION,
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
} from "../src/abi";
import { number, tokens, word } from "./words";

export function heads(pc: usize, thread: i32, threads: i32): void {
  const count = number(pc, H_HEADS),
    headDim = word(pc, H_HEAD_DIM),
    position = load<i32>(CTRL_POSITION);
  const half = headDim >> 1,
    cosTable = word(pc, H_COS),
    sinTable = word(pc, H_SIN);
  const offset = number(pc, H_AT_POSITION) != 0 ? position : 0;
  const units = tokens() * count;
  for (let unit = thread; unit < units; unit += threads) {
    const token = unit / count,
      head = unit % count;
    const x = word(pc, W_SRC) + ((<usize>token * word(pc, W_SRC_STRIDE) + <usize>head * headDim) << 2);
    const y =
      word(pc, W_DST) +
      ((<usize>(token + offset) * word(pc, H_TOKEN_STRIDE) + <usize>head * word(pc, H_HEAD_STRIDE)) << 2);
    if (cosTable == 0) {
      memory.copy(y, x, headDim << 2);
      continue;
    }
    const cos = cosTable + ((<usize>(position + token) * half) << 2);
    const sin = sinTable + ((<usize>(position + token) * half) << 2);
    const middle = half << 2;
    let i: usize = 0;
    for (; i + 16 <= middle; i += 16) {
      const a = v128.load(x + i),
        b = v128.load(x + middle + i),
        c = v128.load(cos + i),
        s = v128.load(sin + i);
      v128.store(y + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
      v128.store(y + middle + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
    }
    for (; i < middle; i += 4) {
      const a = load<f32>(x + i),
        b = load<f32>(x + middle + i),
        c = load<f32>(cos + i),
        s = load<f32>(sin + i);
      store<f32>(y + i, a * c - b * s);
      store<f32>(y + middle + i, b * c + a * s);
    }
  }
}
