/**
 * The 32-element blocks: an f16 scale d (and, in the `_1` types, an f16 minimum m), then the codes. Element i of the
 * first half takes the low nibble of byte i, element i + 16 the high one. Layouts: ggml-common.h, block_q4_0 and so on.
 */
import { f16BitsToF32 } from "../../../tensors/half.js";
import type { Dequantise } from "./types.js";

const fround = Math.fround;

function f16At(bytes: Uint8Array, at: number): number {
  return f16BitsToF32(bytes[at] | (bytes[at + 1] << 8));
}

/** value = d q; q signed 8 bits */
export const q8_0: Dequantise = (bytes, out) => {
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0, o = 0; o < out.length; at += 34, o += 32) {
    const d = f16At(bytes, at);
    for (let i = 0; i < 32; i++) out[o + i] = d * codes[at + 2 + i];
  }
};

/** value = d (q - 8) */
export const q4_0: Dequantise = (bytes, out) => {
  for (let at = 0, o = 0; o < out.length; at += 18, o += 32) {
    const d = f16At(bytes, at);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i];
      out[o + i] = d * ((pair & 15) - 8);
      out[o + 16 + i] = d * ((pair >> 4) - 8);
    }
  }
};

/** value = d q + m */
export const q4_1: Dequantise = (bytes, out) => {
  for (let at = 0, o = 0; o < out.length; at += 20, o += 32) {
    const d = f16At(bytes, at);
    const m = f16At(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 4 + i];
      out[o + i] = fround(d * (pair & 15)) + m;
      out[o + 16 + i] = fround(d * (pair >> 4)) + m;
    }
  }
};

/** The fifth bits of a block's 32 codes: element i's is bit i. */
function highBits(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

/** value = d (q - 16) */
export const q5_0: Dequantise = (bytes, out) => {
  for (let at = 0, o = 0; o < out.length; at += 22, o += 32) {
    const d = f16At(bytes, at);
    const high = highBits(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 6 + i];
      out[o + i] = d * (((pair & 15) | (((high >>> i) & 1) << 4)) - 16);
      out[o + 16 + i] = d * (((pair >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
    }
  }
};

/** value = d q + m */
export const q5_1: Dequantise = (bytes, out) => {
  for (let at = 0, o = 0; o < out.length; at += 24, o += 32) {
    const d = f16At(bytes, at);
    const m = f16At(bytes, at + 2);
    const high = highBits(bytes, at + 4);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 8 + i];
      out[o + i] = fround(d * ((pair & 15) | (((high >>> i) & 1) << 4))) + m;
      out[o + 16 + i] = fround(d * ((pair >> 4) | (((high >>> (i + 16)) & 1) << 4))) + m;
    }
  }
};
