/** Reading what the subbit layout packs: linears of every kind, embeddings and heads. `checkManifest` has passed. */
import { inputError } from "../errors.js";
import { readStorage } from "../linears/read-dense.js";
import { decodeScales } from "../linears/scale-codes.js";
import { paddingIsClear, transposeSigns } from "../linears/sign-matrix.js";
import type { Checkpoint } from "../checkpoints/types.js";
import type {
  DenseLinear,
  DenseStorage,
  FactoredLinear,
  FactoredPath,
  Linear,
  OneBitLinear,
  ScaleBits,
  SignMatrix,
  Table,
} from "../linears/types.js";
import { bytesAsU32 } from "../tensors/bytes.js";
import type { DenseEntry, FactoredEntry, LinearEntry, OneBitEntry, TableEntry } from "./manifest.js";
import {
  oneBitNames,
  pathNames,
  ranksOf,
  rowScalesName,
  scaleBaseName,
  tableName,
} from "./subbit-tensors.js";

/** Reads a linear, in the form that `storedForm` gives. */
export async function readPackedLinear(
  checkpoint: Checkpoint,
  name: string,
  entry: LinearEntry,
): Promise<Linear> {
  const bias = entry.biasBits === 0 ? {} : { bias: await checkpoint.readF32(`${name}.bias`) };
  switch (entry.kind) {
    case "dense":
      return { ...(await readMatrix(checkpoint, `${name}.weight`, entry)), ...bias };
    case "onebit":
      return { ...(await readOneBit(checkpoint, name, entry)), ...bias };
    case "factored":
      return { ...(await readFactored(checkpoint, name, entry)), ...bias };
  }
}

/** Reads an embedding or a head whose weight tensor is (or would be) called `weight`. */
export async function readPackedTable(
  checkpoint: Checkpoint,
  weight: string,
  entry: TableEntry,
): Promise<Table> {
  return entry.kind === "dense"
    ? readMatrix(checkpoint, weight, entry)
    : readFactored(checkpoint, tableName(weight), entry);
}

async function readFactored(
  checkpoint: Checkpoint,
  name: string,
  entry: FactoredEntry,
): Promise<FactoredLinear> {
  const { rows, cols, scaleBits } = entry;
  const paths: FactoredPath[] = [];
  for (const [p, rank] of ranksOf(entry).entries())
    paths.push(await readPath(checkpoint, name, p, rank, entry));
  return { kind: "factored", rows, cols, paths, ...widthOf(scaleBits) };
}

async function readPath(
  checkpoint: Checkpoint,
  linear: string,
  index: number,
  rank: number,
  entry: FactoredEntry,
): Promise<FactoredPath> {
  const { rows, cols, envelope, midScale, scaleBits } = entry;
  const names = pathNames(linear, index);
  const scales = (name: string): Promise<Float32Array> =>
    readScales(checkpoint, name, scaleBits, envelope > 1);
  const outSigns = await readSigns(checkpoint, names.outSigns, rank, rows);
  return {
    rank,
    envelope,
    outSigns: transposeSigns(outSigns),
    inSigns: await readSigns(checkpoint, names.inSigns, rank, cols),
    outScales: await scales(names.outScales),
    inScales: await scales(names.inScales),
    ...(midScale && { midIn: await scales(names.midIn) }),
    ...(midScale && envelope > 1 && { midOut: await scales(names.midOut) }),
  };
}

async function readOneBit(checkpoint: Checkpoint, name: string, entry: OneBitEntry): Promise<OneBitLinear> {
  const { rows, cols, scaleBits } = entry;
  const names = oneBitNames(name);
  return {
    kind: "onebit",
    rows,
    cols,
    signs: await readSigns(checkpoint, names.signs, rows, cols),
    outScales: await readScales(checkpoint, names.outScales, scaleBits, false),
    inScales: await readScales(checkpoint, names.inScales, scaleBits, false),
    ...widthOf(scaleBits),
  };
}

/** The usual width is not said. */
function widthOf(scaleBits: ScaleBits): { scaleBits?: ScaleBits } {
  return scaleBits === 16 ? {} : { scaleBits };
}

async function readSigns(
  checkpoint: Checkpoint,
  name: string,
  rows: number,
  cols: number,
): Promise<SignMatrix> {
  const matrix = { rows, cols, words: bytesAsU32(await checkpoint.readRaw(name)) };
  if (!paddingIsClear(matrix)) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} has set bits in its padding; the file is damaged.`,
    );
  }
  return matrix;
}

/** Scales of any width, [vectors, length]; `signed` says which codes 8 bits have. */
async function readScales(
  checkpoint: Checkpoint,
  name: string,
  scaleBits: ScaleBits,
  signed: boolean,
): Promise<Float32Array> {
  if (scaleBits !== 8) return readFinite(checkpoint, name);
  const bases = await readFinite(checkpoint, scaleBaseName(name));
  const negative = bases.find((base) => base < 0);
  if (negative !== undefined) {
    throw inputError(
      `Tensor ${scaleBaseName(name)} of ${checkpoint.name} holds the base ${negative}, but bases are at least 0; the file is damaged.`,
    );
  }
  return decodeScales({ codes: await checkpoint.readRaw(name), bases }, signed);
}

async function readFinite(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const scales = await checkpoint.readF32(name);
  if (!scales.every(Number.isFinite)) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} holds a scale that is not finite; the file is damaged.`,
    );
  }
  return scales;
}

/** Reads a dense matrix: 32 or 16-bit floats, or codes of 8, 4 or 2 bits with row scales. */
async function readMatrix(checkpoint: Checkpoint, weight: string, entry: DenseEntry): Promise<DenseLinear> {
  return {
    kind: "dense",
    rows: entry.rows,
    cols: entry.cols,
    storage: await readMatrixStorage(checkpoint, weight, entry.bits),
  };
}

async function readMatrixStorage(
  checkpoint: Checkpoint,
  weight: string,
  bits: DenseEntry["bits"],
): Promise<DenseStorage> {
  const info = checkpoint.tensors.get(weight);
  if (info === undefined) throw inputError(`${checkpoint.name} has no tensor ${weight}.`);
  if (bits >= 16) return readStorage(checkpoint, info);
  const codes = await checkpoint.readRaw(weight);
  const rowScales = await readFinite(checkpoint, rowScalesName(weight));
  return bits === 8
    ? { dtype: "i8", values: new Int8Array(codes.buffer, codes.byteOffset, codes.byteLength), rowScales }
    : { dtype: bits === 4 ? "i4" : "i2", values: codes, rowScales };
}
