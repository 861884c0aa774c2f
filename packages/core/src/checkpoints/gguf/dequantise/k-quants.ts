/**
 * The 256-element "K" blocks: groups of 16 or 32 elements with small integer scales (and minima) under one or two f16
 * scales of the whole block. Layouts: ggml-common.h, block_q2_K to block_q6_K.
 */
import { f16BitsToF32 } from "../../../tensors/half.js";
import type { Dequantise } from "./types.js";

const fround = Math.fround;

function f16At(bytes: Uint8Array, at: number): number {
  return f16BitsToF32(bytes[at] | (bytes[at + 1] << 8));
}

/**
 * 16 bytes of 4-bit scale (low) and minimum (high) of groups of 16; 64 bytes of 2-bit codes; d; dmin.
 * A run of 128 elements lies in 32 bytes: four layers of bits, each of two groups. value = d s q - dmin m
 */
export const q2_K: Dequantise = (bytes, out) => {
  for (let at = 0, o = 0; o < out.length; at += 84) {
    const d = f16At(bytes, at + 80);
    const dmin = f16At(bytes, at + 82);
    for (let group = 0; group < 16; group++) {
      const packed = bytes[at + group];
      const scale = fround(d * (packed & 15));
      const minimum = fround(dmin * (packed >> 4));
      const codes = at + 16 + (group >> 3) * 32 + (group & 1) * 16;
      const shift = ((group >> 1) & 3) * 2;
      for (let i = 0; i < 16; i++) out[o++] = fround(scale * ((bytes[codes + i] >> shift) & 3)) - minimum;
    }
  }
};

/**
 * 32 bytes of third bits (a set bit means "do not subtract 4"); 64 bytes of 2-bit codes as in Q2_K; 12 bytes that
 * pack sixteen 6-bit scales; d. value = d (s - 32) (q - (third bit ? 0 : 4))
 */
export const q3_K: Dequantise = (bytes, out) => {
  const scales = new Int8Array(16);
  for (let at = 0, o = 0; o < out.length; at += 110) {
    const d = f16At(bytes, at + 108);
    const packed = at + 96;
    for (let i = 0; i < 16; i++) {
      // Low four bits: bytes 0..7, low nibbles first; high two bits: bytes 8..11, four layers.
      const low = (bytes[packed + (i & 7)] >> (i < 8 ? 0 : 4)) & 15;
      const high = (bytes[packed + 8 + (i & 3)] >> ((i >> 2) * 2)) & 3;
      scales[i] = (low | (high << 4)) - 32;
    }
    for (let group = 0; group < 16; group++) {
      const scale = fround(d * scales[group]);
      const thirds = at + (group & 1) * 16;
      const thirdShift = group >> 1;
      const codes = at + 32 + (group >> 3) * 32 + (group & 1) * 16;
      const shift = ((group >> 1) & 3) * 2;
      for (let i = 0; i < 16; i++) {
        const third = (bytes[thirds + i] >> thirdShift) & 1;
        out[o++] = scale * (((bytes[codes + i] >> shift) & 3) - (third ? 0 : 4));
      }
    }
  }
};

/** Scale and minimum (6 bits each) of the eight groups of 32 of a Q4_K or Q5_K block, from their 12 bytes. */
function unpackScales(bytes: Uint8Array, at: number, scales: Uint8Array, minima: Uint8Array): void {
  for (let i = 0; i < 4; i++) {
    scales[i] = bytes[at + i] & 63;
    minima[i] = bytes[at + 4 + i] & 63;
    scales[4 + i] = (bytes[at + 8 + i] & 15) | ((bytes[at + i] >> 6) << 4);
    minima[4 + i] = (bytes[at + 8 + i] >> 4) | ((bytes[at + 4 + i] >> 6) << 4);
  }
}

/** d; dmin; 12 bytes of scales and minima; 128 bytes of 4-bit codes, 64 elements in 32 bytes. value = d s q - dmin m */
export const q4_K: Dequantise = (bytes, out) => {
  const scales = new Uint8Array(8);
  const minima = new Uint8Array(8);
  for (let at = 0, o = 0; o < out.length; at += 144) {
    const d = f16At(bytes, at);
    const dmin = f16At(bytes, at + 2);
    unpackScales(bytes, at + 4, scales, minima);
    for (let group = 0; group < 8; group++) {
      const scale = fround(d * scales[group]);
      const minimum = fround(dmin * minima[group]);
      const codes = at + 16 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let i = 0; i < 32; i++) out[o++] = fround(scale * ((bytes[codes + i] >> shift) & 15)) - minimum;
    }
  }
};

/** As Q4_K, with 32 bytes of fifth bits (one layer a group) between scales and codes. */
export const q5_K: Dequantise = (bytes, out) => {
  const scales = new Uint8Array(8);
  const minima = new Uint8Array(8);
  for (let at = 0, o = 0; o < out.length; at += 176) {
    const d = f16At(bytes, at);
    const dmin = f16At(bytes, at + 2);
    unpackScales(bytes, at + 4, scales, minima);
    for (let group = 0; group < 8; group++) {
      const scale = fround(d * scales[group]);
      const minimum = fround(dmin * minima[group]);
      const fifths = at + 16;
      const codes = at + 48 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let i = 0; i < 32; i++) {
        const code = ((bytes[codes + i] >> shift) & 15) | (((bytes[fifths + i] >> group) & 1) << 4);
        out[o++] = fround(scale * code) - minimum;
      }
    }
  }
};

/**
 * 128 bytes of low four bits; 64 bytes of high two bits; 16 signed 8-bit scales of groups of 16; d.
 * A run of 128 elements: four quarters of 32 share 64 low bytes and 32 high bytes. value = d s (q - 32)
 */
export const q6_K: Dequantise = (bytes, out) => {
  for (let at = 0, o = 0; o < out.length; at += 210) {
    const d = f16At(bytes, at + 208);
    for (let quarter = 0; quarter < 8; quarter++) {
      const run = quarter >> 2;
      const part = quarter & 3;
      const lows = at + run * 64 + (part & 1) * 32;
      const lowShift = part < 2 ? 0 : 4;
      const highs = at + 128 + run * 32;
      const highShift = part * 2;
      for (let half = 0; half < 2; half++) {
        const scale = fround(d * ((bytes[at + 192 + quarter * 2 + half] << 24) >> 24));
        for (let i = half * 16; i < half * 16 + 16; i++) {
          const low = (bytes[lows + i] >> lowShift) & 15;
          const high = (bytes[highs + i] >> highShift) & 3;
          out[o++] = scale * ((low | (high << 4)) - 32);
        }
      }
    }
  }
};
