/** Puts linears and norms into the arena in the form the kernels read, and says where they lie. */
import {
  transposeSigns,
  type DenseLinear,
  type FactoredLinear,
  type FactoredPath,
  type Linear,
  type OneBitLinear,
  type SignMatrix,
  type Table,
} from "@subbit/core";
import {
  DENSE_COL_PAD,
  DENSE_ROW_TILE,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  DTYPE_I2,
  DTYPE_I4,
  DTYPE_I8,
  ROW_PAD,
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

/** Scales are f32 [envelope, length padded to ROW_PAD], zero beyond the length. */
export interface PlacedPath {
  readonly rank: number;
  readonly envelope: number;
  readonly inSigns: PlacedSigns;
  readonly outSigns: PlacedSigns;
  readonly inScales: number;
  /** Ones where the path has no middle scale. */
  readonly midIn: number;
  /** 0: ones. */
  readonly midOut: number;
  readonly outScales: number;
}

export interface PlacedFactored {
  readonly kind: "factored";
  readonly rows: number;
  readonly cols: number;
  readonly paths: readonly PlacedPath[];
  readonly bias: number;
}

/** A path of an embedding: a lookup multiplies with S_in transposed. */
export interface PlacedTablePath extends PlacedPath {
  readonly inSignsTransposed: PlacedSigns;
}

/** A factored embedding; as a head it is what PlacedFactored says. */
export interface PlacedTableFactors extends PlacedFactored {
  readonly paths: readonly PlacedTablePath[];
}

export interface PlacedOneBit {
  readonly kind: "onebit";
  readonly rows: number;
  readonly cols: number;
  readonly signs: PlacedSigns;
  /** f32 [rows padded to ROW_PAD] */
  readonly outScales: number;
  /** f32 [cols padded to ROW_PAD] */
  readonly inScales: number;
  /** f32 [rows padded to ROW_PAD]: the norm has no weights of its own. */
  readonly ones: number;
  /** f32 [rows padded to ROW_PAD], or 0. */
  readonly bias: number;
}

export type PlacedLinear = PlacedDense | PlacedFactored | PlacedOneBit;
export type PlacedEmbedding = PlacedDense | PlacedTableFactors;
/** A head; a tied one is the embedding. */
export type PlacedTable = PlacedDense | PlacedFactored;

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
  i2: DTYPE_I2,
} as const;
export const BITS_OF_DTYPE = { f32: 32, f16: 16, bf16: 16, i8: 8, i4: 4, i2: 2 } as const;

export function pad(count: number, multiple: number): number {
  return Math.ceil(count / multiple) * multiple;
}

export function placeLinear(arena: Arena, linear: Linear): PlacedLinear {
  if (linear.kind === "dense") return placeDense(arena, linear);
  return linear.kind === "onebit" ? placeOneBit(arena, linear) : placeFactored(arena, linear);
}

/** An embedding, which may serve as a head as well. */
export function placeEmbedding(arena: Arena, table: Table): PlacedEmbedding {
  if (table.kind === "dense") return placeDense(arena, table);
  const placed = placeFactored(arena, table);
  const paths = placed.paths.map((path, p) => ({
    ...path,
    inSignsTransposed: placeSigns(arena, transposeSigns(table.paths[p].inSigns)),
  }));
  return { ...placed, paths };
}

export function placeHead(arena: Arena, table: Table): PlacedTable {
  return table.kind === "dense" ? placeDense(arena, table) : placeFactored(arena, table);
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
    paths: linear.paths.map((path) => placePath(arena, path)),
    bias: bias === undefined ? 0 : placeVectors(arena, bias, 1),
  };
}

function placePath(arena: Arena, path: FactoredPath): PlacedPath {
  const { rank, envelope, midIn, midOut } = path;
  return {
    rank,
    envelope,
    inSigns: placeSigns(arena, path.inSigns),
    outSigns: placeSigns(arena, path.outSigns),
    inScales: placeVectors(arena, path.inScales, envelope),
    // The sign kernel always scales its output: that is what makes padded rows zero.
    midIn: midIn === undefined ? arena.ones(rank, envelope) : placeVectors(arena, midIn, envelope),
    midOut: midOut === undefined ? 0 : placeVectors(arena, midOut, envelope),
    outScales: placeVectors(arena, path.outScales, envelope),
  };
}

function placeOneBit(arena: Arena, linear: OneBitLinear): PlacedOneBit {
  const { rows, cols, signs, outScales, inScales, bias } = linear;
  return {
    kind: "onebit",
    rows,
    cols,
    signs: placeSigns(arena, signs),
    outScales: placeVectors(arena, outScales, 1),
    inScales: placeVectors(arena, inScales, 1),
    ones: arena.ones(rows),
    bias: bias === undefined ? 0 : placeVectors(arena, bias, 1),
  };
}

/** `values` [vectors, length], each vector padded with zeros. */
function placeVectors(arena: Arena, values: Float32Array, vectors: number): number {
  const length = values.length / vectors;
  const padded = pad(length, ROW_PAD);
  const at = arena.allocate(vectors * padded * 4);
  for (let v = 0; v < vectors; v++) {
    arena.floats(at + v * padded * 4, length).set(values.subarray(v * length, (v + 1) * length));
  }
  return at;
}

function placeSigns(arena: Arena, signs: SignMatrix): PlacedSigns {
  const bytes = packedSignBytes(signs.rows, signs.cols);
  const weights = arena.allocate(bytes);
  packSigns(signs, arena.bytes(weights, bytes));
  return { weights, rows: signs.rows, cols: signs.cols };
}

export function placeNorm(arena: Arena, norm: { weight: Float32Array; bias?: Float32Array }): PlacedNorm {
  return {
    weight: placeVectors(arena, norm.weight, 1),
    bias: norm.bias === undefined ? 0 : placeVectors(arena, norm.bias, 1),
  };
}
