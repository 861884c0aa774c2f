/** Weights of no meaning in the form the kernels read. */
import {
  DENSE_COL_PAD,
  DENSE_ROW_TILE,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  DTYPE_I4,
  DTYPE_I8,
  ROW_PAD,
  SIGN_ROW_TILE,
} from "../abi.js";
import type { Arena } from "../weights/arena.js";
import { packedSignBytes } from "../weights/pack-signs.js";
import {
  BITS_OF_DTYPE,
  pad,
  type PlacedDense,
  type PlacedFactored,
  type PlacedSigns,
} from "../weights/place.js";

const DTYPE_CODES = { f32: DTYPE_F32, f16: DTYPE_F16, bf16: DTYPE_BF16, i8: DTYPE_I8, i4: DTYPE_I4 } as const;
/** What crypto gives at once. */
const RANDOM_BYTES = 65536;

/** One path, envelope 1: the form of most packed models. */
export function placeRandomFactored(arena: Arena, rows: number, rank: number, cols: number): PlacedFactored {
  const path = {
    rank,
    inSigns: placeSigns(arena, rank, cols),
    outSigns: placeSigns(arena, rows, rank),
    inScales: [placeOnes(arena, cols, ROW_PAD)],
    midIn: [placeOnes(arena, rank, SIGN_ROW_TILE)],
    midOut: [0],
    outScales: [placeOnes(arena, rows, SIGN_ROW_TILE)],
  };
  return { kind: "factored", rows, cols, paths: [path], bias: 0 };
}

export function placeRandomDense(
  arena: Arena,
  dtype: keyof typeof BITS_OF_DTYPE,
  rows: number,
  cols: number,
): PlacedDense {
  const rowBytes = (pad(cols, DENSE_COL_PAD) * BITS_OF_DTYPE[dtype]) / 8;
  const bytes = pad(rows, DENSE_ROW_TILE) * rowBytes;
  const weights = arena.allocate(bytes);
  // Repeated, this byte is a small normal number in every float format.
  arena.bytes(weights, bytes).fill(0x2c);
  const rowScales = dtype === "i8" || dtype === "i4" ? placeOnes(arena, rows, DENSE_ROW_TILE) : 0;
  return { kind: "dense", rows, cols, dtype: DTYPE_CODES[dtype], weights, rowBytes, rowScales, bias: 0 };
}

function placeSigns(arena: Arena, rows: number, cols: number): PlacedSigns {
  const bytes = packedSignBytes(rows, cols);
  const weights = arena.allocate(bytes);
  const target = arena.bytes(weights, bytes);
  const block = new Uint8Array(RANDOM_BYTES);
  for (let at = 0; at < bytes; at += RANDOM_BYTES) {
    target.set(crypto.getRandomValues(block).subarray(0, Math.min(RANDOM_BYTES, bytes - at)), at);
  }
  return { weights, rows, cols };
}

/** Zero beyond `count`: that is what makes padded rows of a product zero. */
function placeOnes(arena: Arena, count: number, multiple: number): number {
  return arena.putFloats(new Float32Array(count).fill(1), pad(count, multiple));
}
