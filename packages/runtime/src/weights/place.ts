/** Puts linears and norms into the arena in the form the kernels read, and says where they lie. */
import type { DenseLinear, FactoredLinear, FactoredPath, Linear, SignMatrix } from "@subbit/core";
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
import type { Arena } from "./arena.js";
import { packSigns, packedSignBytes } from "./pack-signs.js";

/** Addresses are bytes; 0 means absent. */
export interface PlacedDense {
  readonly kind: "dense";
  readonly rows: number;
  readonly cols: number;
  readonly dtype: number;
  readonly weights: number;
  readonly rowBytes: number;
  readonly rowScales: number;
  readonly bias: number;
}

export interface PlacedSigns {
  readonly weights: number;
  readonly rows: number;
  readonly cols: number;
}

export interface PlacedPath {
  readonly rank: number;
  readonly inSigns: PlacedSigns;
  readonly outSigns: PlacedSigns;
  /** One address for each rank-1 term of the envelope. */
  readonly inScales: readonly number[];
  readonly midIn: readonly number[];
  readonly midOut: readonly number[];
  readonly outScales: readonly number[];
}

export interface PlacedFactored {
  readonly kind: "factored";
  readonly rows: number;
  readonly cols: number;
  readonly paths: readonly PlacedPath[];
  readonly bias: number;
}

export type PlacedLinear = PlacedDense | PlacedFactored;

export interface PlacedNorm {
  readonly weight: number;
  readonly bias: number;
}

export const DTYPE_CODES = {
  f32: DTYPE_F32,
  f16: DTYPE_F16,
  bf16: DTYPE_BF16,
  i8: DTYPE_I8,
  i4: DTYPE_I4,
} as const;
export const BITS_OF_DTYPE = { f32: 32, f16: 16, bf16: 16, i8: 8, i4: 4 } as const;

export function pad(count: number, multiple: number): number {
  return Math.ceil(count / multiple) * multiple;
}

export function placeLinear(arena: Arena, linear: Linear): PlacedLinear {
  return linear.kind === "dense" ? placeDense(arena, linear) : placeFactored(arena, linear);
}

/** Rows are padded to 16 columns and four rows; the values stay as they are stored. */
export function placeDense(arena: Arena, linear: DenseLinear): PlacedDense {
  const { rows, cols, storage, bias } = linear;
  const bits = BITS_OF_DTYPE[storage.dtype];
  const rowBytes = (pad(cols, DENSE_COL_PAD) * bits) / 8;
  const rowsPadded = pad(rows, DENSE_ROW_TILE);
  const weights = arena.allocate(rowsPadded * rowBytes);
  const target = arena.bytes(weights, rowsPadded * rowBytes);
  const source = new Uint8Array(storage.values.buffer, storage.values.byteOffset, storage.values.byteLength);
  const sourceRowBytes = Math.ceil((cols * bits) / 8);
  if (sourceRowBytes === rowBytes) {
    target.set(source.subarray(0, rows * rowBytes));
  } else {
    // Code 8 of the 4-bit form stands for zero.
    if (storage.dtype === "i4") target.fill(0x88);
    for (let row = 0; row < rows; row++) {
      target.set(source.subarray(row * sourceRowBytes, (row + 1) * sourceRowBytes), row * rowBytes);
    }
  }
  if (storage.dtype === "i4" && cols % 2 === 1) clearOddNibbles(target, rows, cols, rowBytes);
  const rowScales = "rowScales" in storage ? arena.putFloats(storage.rowScales, rowsPadded) : 0;
  const biasAt = bias === undefined ? 0 : arena.putFloats(bias, rowsPadded);
  const dtype = DTYPE_CODES[storage.dtype];
  return { kind: "dense", rows, cols, dtype, weights, rowBytes, rowScales, bias: biasAt };
}

/** The unused upper half of a row's last byte becomes code 8, whatever the file has there. */
function clearOddNibbles(target: Uint8Array, rows: number, cols: number, rowBytes: number): void {
  for (let row = 0; row < rows; row++) {
    const at = row * rowBytes + (cols >>> 1);
    target[at] = (target[at] & 15) | 0x80;
  }
}

function placeFactored(arena: Arena, linear: FactoredLinear): PlacedFactored {
  const { rows, cols, bias } = linear;
  return {
    kind: "factored",
    rows,
    cols,
    paths: linear.paths.map((path) => placePath(arena, path, rows, cols)),
    bias: bias === undefined ? 0 : arena.putFloats(bias, pad(rows, SIGN_ROW_TILE)),
  };
}

function placePath(arena: Arena, path: FactoredPath, rows: number, cols: number): PlacedPath {
  const { rank, envelope } = path;
  /** One padded vector for each rank-1 term; `values` [envelope, length]. */
  const terms = (values: Float32Array, length: number, multiple: number): number[] =>
    Array.from({ length: envelope }, (_, j) =>
      arena.putFloats(values.subarray(j * length, (j + 1) * length), pad(length, multiple)),
    );
  // The sign kernel always scales its output: that is what makes padded rows zero.
  const ones = new Float32Array(envelope * rank).fill(1);
  return {
    rank,
    inSigns: placeSigns(arena, path.inSigns),
    outSigns: placeSigns(arena, path.outSigns),
    inScales: terms(path.inScales, cols, ROW_PAD),
    midIn: terms(path.midIn ?? ones, rank, SIGN_ROW_TILE),
    midOut: path.midOut === undefined ? Array<number>(envelope).fill(0) : terms(path.midOut, rank, ROW_PAD),
    outScales: terms(path.outScales, rows, SIGN_ROW_TILE),
  };
}

function placeSigns(arena: Arena, signs: SignMatrix): PlacedSigns {
  const bytes = packedSignBytes(signs.rows, signs.cols);
  const weights = arena.allocate(bytes);
  packSigns(signs, arena.bytes(weights, bytes));
  return { weights, rows: signs.rows, cols: signs.cols };
}

export function placeNorm(arena: Arena, norm: { weight: Float32Array; bias?: Float32Array }): PlacedNorm {
  const stride = pad(norm.weight.length, ROW_PAD);
  return {
    weight: arena.putFloats(norm.weight, stride),
    bias: norm.bias === undefined ? 0 : arena.putFloats(norm.bias, stride),
  };
}
