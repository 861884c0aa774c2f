/** The value of one element of a GGUF block, straight from the layout: the slow twins of the dequantisers. */
import { f16BitsToF32 } from "../../src/tensors/half.js";

export interface SlowBlock {
  readonly elements: number;
  readonly bytes: number;
  /** Where the f16 scales lie. */
  readonly halves: readonly number[];
  value(block: Uint8Array, element: number): number;
}

const r = Math.fround;
const half = (b: Uint8Array, at: number): number => f16BitsToF32(b[at] + 256 * b[at + 1]);
const signed = (byte: number): number => (byte < 128 ? byte : byte - 256);
/** Bits [first, first + count) of a number, as a number. */
const bits = (value: number, first: number, count: number): number =>
  Math.floor(value / 2 ** first) % 2 ** count;
/** Nibble of a 32-element block: the first 16 elements low, the others high. */
const nibble = (b: Uint8Array, at: number, e: number): number => bits(b[at + (e % 16)], e < 16 ? 0 : 4, 4);
const fifth = (b: Uint8Array, at: number, e: number): number => bits(b[at + Math.floor(e / 8)], e % 8, 1);

/** 6-bit scale and minimum of group g (of 8) in the 12 bytes of a Q4_K or Q5_K block. */
function scaleAndMinimum(b: Uint8Array, at: number, g: number): [number, number] {
  if (g < 4) return [bits(b[at + g], 0, 6), bits(b[at + g + 4], 0, 6)];
  const shared = b[at + g + 4];
  return [
    bits(shared, 0, 4) + 16 * bits(b[at + g - 4], 6, 2),
    bits(shared, 4, 4) + 16 * bits(b[at + g], 6, 2),
  ];
}

/** 2-bit code of element e: 128 elements in 32 bytes, four layers. */
const twoBits = (b: Uint8Array, at: number, e: number): number =>
  bits(b[at + 32 * Math.floor(e / 128) + (e % 32)], 2 * Math.floor((e % 128) / 32), 2);

/** 4-bit code of element e of Q4_K and Q5_K: 64 elements in 32 bytes, two layers. */
const fourBits = (b: Uint8Array, at: number, e: number): number =>
  bits(b[at + 32 * Math.floor(e / 64) + (e % 32)], 4 * Math.floor((e % 64) / 32), 4);

export const SLOW_BLOCKS: Readonly<Record<string, SlowBlock>> = {
  Q8_0: { elements: 32, bytes: 34, halves: [0], value: (b, e) => half(b, 0) * signed(b[2 + e]) },
  Q4_0: { elements: 32, bytes: 18, halves: [0], value: (b, e) => half(b, 0) * (nibble(b, 2, e) - 8) },
  Q4_1: {
    elements: 32,
    bytes: 20,
    halves: [0, 2],
    value: (b, e) => r(half(b, 0) * nibble(b, 4, e)) + half(b, 2),
  },
  Q5_0: {
    elements: 32,
    bytes: 22,
    halves: [0],
    value: (b, e) => half(b, 0) * (nibble(b, 6, e) + 16 * fifth(b, 2, e) - 16),
  },
  Q5_1: {
    elements: 32,
    bytes: 24,
    halves: [0, 2],
    value: (b, e) => r(half(b, 0) * (nibble(b, 8, e) + 16 * fifth(b, 4, e))) + half(b, 2),
  },
  Q2_K: {
    elements: 256,
    bytes: 84,
    halves: [80, 82],
    value: (b, e) => {
      const packed = b[Math.floor(e / 16)];
      return r(r(half(b, 80) * bits(packed, 0, 4)) * twoBits(b, 16, e)) - r(half(b, 82) * bits(packed, 4, 4));
    },
  },
  Q3_K: {
    elements: 256,
    bytes: 110,
    halves: [108],
    value: (b, e) => {
      const group = Math.floor(e / 16);
      const low = bits(b[96 + (group % 8)], group < 8 ? 0 : 4, 4);
      const high = bits(b[104 + (group % 4)], 2 * Math.floor(group / 4), 2);
      const third = bits(b[e % 32], Math.floor(e / 32), 1);
      return r(half(b, 108) * (low + 16 * high - 32)) * (twoBits(b, 32, e) - (third === 1 ? 0 : 4));
    },
  },
  Q4_K: {
    elements: 256,
    bytes: 144,
    halves: [0, 2],
    value: (b, e) => {
      const [scale, minimum] = scaleAndMinimum(b, 4, Math.floor(e / 32));
      return r(r(half(b, 0) * scale) * fourBits(b, 16, e)) - r(half(b, 2) * minimum);
    },
  },
  Q5_K: {
    elements: 256,
    bytes: 176,
    halves: [0, 2],
    value: (b, e) => {
      const [scale, minimum] = scaleAndMinimum(b, 4, Math.floor(e / 32));
      const code = fourBits(b, 48, e) + 16 * bits(b[16 + (e % 32)], Math.floor(e / 32), 1);
      return r(r(half(b, 0) * scale) * code) - r(half(b, 2) * minimum);
    },
  },
  Q6_K: {
    elements: 256,
    bytes: 210,
    halves: [208],
    value: (b, e) => {
      const run = Math.floor(e / 128);
      const low = bits(b[64 * run + (e % 64)], 4 * Math.floor((e % 128) / 64), 4);
      const high = bits(b[128 + 32 * run + (e % 32)], 2 * Math.floor((e % 128) / 32), 2);
      return r(half(b, 208) * signed(b[192 + Math.floor(e / 16)])) * (low + 16 * high - 32);
    },
  },
};
