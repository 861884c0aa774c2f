/** Weights of no meaning in the form the kernels read. */
import { DENSE_COL_PAD, DENSE_ROW_TILE } from "../abi.js";
import type { Arena } from "../weights/arena.js";
import { packedSignBytes } from "../weights/pack-signs.js";
import {
  BITS_OF_DTYPE,
  DTYPE_CODES,
  pad,
  type PlacedDense,
  type PlacedFactored,
  type PlacedSigns,
} from "../weights/place.js";

/** What crypto gives at once. */
const RANDOM_BYTES = 65536;

/** One path: the form of most packed models, whose envelope is 1. */
export function placeRandomFactored(
  arena: Arena,
  { rows, rank, cols, envelope = 1 }: { rows: number; rank: number; cols: number; envelope?: number },
): PlacedFactored {
  const path = {
    rank,
    envelope,
    inSigns: placeSigns(arena, rank, cols),
    outSigns: placeSigns(arena, rows, rank),
    inScales: arena.ones(cols, envelope),
    midIn: arena.ones(rank, envelope),
    midOut: envelope === 1 ? 0 : arena.ones(rank, envelope),
    outScales: arena.ones(rows, envelope),
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
  const rowScales = BITS_OF_DTYPE[dtype] <= 8 ? arena.ones(rows) : 0;
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
