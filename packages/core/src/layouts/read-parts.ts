/** Reading the parts of packed linears in official layouts: vectors and signs, checked for dtype, shape and damage. */
import { inputError } from "../errors.js";
import { elementCount } from "../checkpoints/shapes.js";
import type { Checkpoint, StoredDtype, TensorInfo } from "../checkpoints/types.js";
import { formatShape } from "../linears/read-dense.js";
import { paddingIsClear, wordsPerRow } from "../linears/sign-matrix.js";
import type { SignMatrix } from "../linears/types.js";
import type { ModelConfig } from "../model/config-fields.js";
import { flatBytes, signsFromFlatBytes, signsFromRowBytes, signsFromWords } from "./sign-bytes.js";

/** Larger than the rank of any real linear; keeps hostile shapes from overflowing anything. */
const MAX_RANK = 2 ** 24;
const FLOATS: readonly StoredDtype[] = ["F32", "F16", "BF16"];

/** The tensor, of one of the dtypes and shapes; `what` says what asks for it. */
export function expectStored(
  checkpoint: Checkpoint,
  name: string,
  dtypes: readonly StoredDtype[],
  shapes: readonly (readonly number[])[],
): TensorInfo {
  const info = checkpoint.tensors.get(name);
  const wanted = shapes.map(formatShape).join(" or ");
  if (info === undefined)
    throw inputError(
      `${checkpoint.name} has no tensor ${name}, where ${wanted} was expected; it is incomplete.`,
    );
  const fits = shapes.some(
    (shape) => shape.length === info.shape.length && shape.every((size, i) => size === info.shape[i]),
  );
  if (!fits || !dtypes.includes(info.dtype)) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} is ${info.dtype} ${formatShape(info.shape)}, but ${dtypes.join(" or ")} ${wanted} was expected from config.json and the other tensors.`,
    );
  }
  return info;
}

/** A vector of floats, however many dimensions of 1 it has. */
export function expectVector(checkpoint: Checkpoint, name: string, length: number): TensorInfo {
  return expectStored(checkpoint, name, FLOATS, [[length], [1, length], [length, 1]]);
}

export function expectMatrix(checkpoint: Checkpoint, name: string, rows: number, cols: number): TensorInfo {
  return expectStored(checkpoint, name, FLOATS, [[rows, cols]]);
}

/** Values of a tensor of floats, all finite. */
export async function readFinite(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const values = await checkpoint.readF32(name);
  if (values.every(Number.isFinite)) return values;
  throw inputError(
    `Tensor ${name} of ${checkpoint.name} holds a scale that is not finite; the file is damaged.`,
  );
}

/** A count that a tensor's shape gives for a rank or an envelope. */
export function expectCount(
  checkpoint: Checkpoint,
  name: string,
  count: number | undefined,
  what: string,
): number {
  if (count !== undefined && Number.isInteger(count) && count >= 1 && count <= MAX_RANK) return count;
  throw inputError(
    `Tensor ${name} of ${checkpoint.name} gives the ${what} ${count ?? "nothing"}, but it must be from 1 to ${MAX_RANK}.`,
  );
}

/** Elements of a tensor; `undefined` where it is not there. */
export function lengthOf(checkpoint: Checkpoint, name: string): number | undefined {
  const info = checkpoint.tensors.get(name);
  return info && elementCount(info.shape);
}

/** 16 or 32: the width of scales as inspection tells it. */
export function scaleWidth(infos: readonly TensorInfo[]): 16 | 32 {
  return infos.some(({ dtype }) => dtype === "F32") ? 32 : 16;
}

/** I32 [rows, ceil(cols / 32)] */
export function expectWords(checkpoint: Checkpoint, name: string, rows: number, cols: number): TensorInfo {
  return expectStored(checkpoint, name, ["I32"], [[rows, wordsPerRow(cols)]]);
}

export async function readWords(
  checkpoint: Checkpoint,
  name: string,
  rows: number,
  cols: number,
): Promise<SignMatrix> {
  const matrix = signsFromWords(await checkpoint.readRaw(name), rows, cols);
  if (paddingIsClear(matrix)) return matrix;
  throw inputError(`Tensor ${name} of ${checkpoint.name} has set bits in its padding; the file is damaged.`);
}

/** U8 [ceil(rows * cols / 8)] */
export function expectFlatSigns(
  checkpoint: Checkpoint,
  name: string,
  rows: number,
  cols: number,
): TensorInfo {
  return expectStored(checkpoint, name, ["U8"], [[flatBytes(rows, cols)]]);
}

export async function readFlatSigns(
  checkpoint: Checkpoint,
  name: string,
  rows: number,
  cols: number,
): Promise<SignMatrix> {
  return signsFromFlatBytes(await checkpoint.readRaw(name), rows, cols);
}

/** I8 or U8 [rows, cols / 8] */
export function expectRowSigns(checkpoint: Checkpoint, name: string, rows: number, cols: number): TensorInfo {
  if (cols % 8 !== 0)
    throw inputError(
      `The linear of ${name} has ${cols} inputs, but OneBit packs rows of whole bytes; config.json is another model's.`,
    );
  return expectStored(checkpoint, name, ["I8", "U8"], [[rows, cols / 8]]);
}

export async function readRowSigns(
  checkpoint: Checkpoint,
  name: string,
  rows: number,
  cols: number,
): Promise<SignMatrix> {
  return signsFromRowBytes(await checkpoint.readRaw(name), rows, cols);
}

/** The config without some of its fields. */
export function withoutFields(config: ModelConfig, fields: readonly string[]): ModelConfig {
  return Object.fromEntries(Object.entries(config).filter(([name]) => !fields.includes(name)));
}
