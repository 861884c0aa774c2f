/**
 * The tensors of the subbit layout: which names, dtypes and shapes a linear's manifest entry asks for.
 * Writer, reader and bit accounting all go by this one list, so they cannot disagree. docs/format.md shows it as a table.
 */
import { wordsPerRow } from "../linears/sign-matrix.js";
import type { StoredDtype } from "../checkpoints/types.js";
import type { ScaleBits } from "../linears/types.js";
import type {
  DenseEntry,
  FactoredEntry,
  LinearEntry,
  OneBitEntry,
  StoredBytes,
  TableEntry,
} from "./manifest.js";

export interface TensorPlan {
  readonly name: string;
  /** Dtypes that a reader accepts here. */
  readonly dtypes: readonly StoredDtype[];
  readonly shape: readonly number[];
  /** Which sum of the accounting its bytes belong to. */
  readonly part: keyof StoredBytes;
}

/** Names of the tensors of one path. */
export interface PathNames {
  /** U's signs transposed, so that a rank that is no multiple of 32 wastes no padding: I32 [rank, ceil(rows / 32)] */
  readonly outSigns: string;
  /** I32 [rank, ceil(cols / 32)] */
  readonly inSigns: string;
  readonly outScales: string;
  readonly inScales: string;
  readonly midIn: string;
  readonly midOut: string;
}

export function pathNames(linear: string, path: number): PathNames {
  const prefix = `${linear}.paths.${path}`;
  return {
    outSigns: `${prefix}.out_signs`,
    inSigns: `${prefix}.in_signs`,
    outScales: `${prefix}.out_scales`,
    inScales: `${prefix}.in_scales`,
    midIn: `${prefix}.mid_scales`,
    midOut: `${prefix}.mid_out_scales`,
  };
}

/** Names of the tensors of a OneBit linear. */
export interface OneBitNames {
  /** I32 [rows, ceil(cols / 32)] */
  readonly signs: string;
  readonly outScales: string;
  readonly inScales: string;
}

export function oneBitNames(linear: string): OneBitNames {
  return {
    signs: `${linear}.signs`,
    outScales: `${linear}.out_scales`,
    inScales: `${linear}.in_scales`,
  };
}

/** The bases beside a tensor of 8-bit scales: F16, one a vector. */
export function scaleBaseName(scales: string): string {
  return `${scales}_base`;
}

/** `x.weight` -> `x.row_scales` */
export function rowScalesName(weight: string): string {
  return `${tableName(weight)}.row_scales`;
}

/** `x.weight` -> `x`: what the tensors of a factored table are named by. */
export function tableName(weight: string): string {
  return weight.replace(/\.weight$/, "");
}

/** Rank of every path. */
export function ranksOf(entry: Pick<FactoredEntry, "rank" | "ranks" | "paths">): readonly number[] {
  return entry.ranks ?? new Array<number>(entry.paths).fill(entry.rank);
}

/** Tensors of the linear called `name` (no `.weight`), in the order of the file. */
export function linearTensors(name: string, entry: LinearEntry): TensorPlan[] {
  const tensors = weightTensors(name, entry);
  if (entry.biasBits !== 0) {
    tensors.push({
      name: `${name}.bias`,
      dtypes: entry.biasBits === 32 ? ["F32"] : ["F16", "BF16"],
      shape: [entry.rows],
      part: "biases",
    });
  }
  return tensors;
}

function weightTensors(name: string, entry: LinearEntry): TensorPlan[] {
  switch (entry.kind) {
    case "factored":
      return factoredTensors(name, entry);
    case "onebit":
      return oneBitTensors(name, entry);
    case "dense":
      return matrixTensors(`${name}.weight`, entry, "dense");
  }
}

/** Tensors of an embedding or a head whose weight tensor is (or would be) called `weight`. */
export function tableTensors(weight: string, entry: TableEntry, part: "embeddings" | "head"): TensorPlan[] {
  if (entry.kind === "dense") return matrixTensors(weight, entry, part);
  return factoredTensors(tableName(weight), entry).map((plan) => ({ ...plan, part }));
}

function factoredTensors(name: string, entry: FactoredEntry): TensorPlan[] {
  const { rows, cols, envelope, scaleBits } = entry;
  const scales = (tensor: string, length: number): TensorPlan[] =>
    scaleTensors(tensor, [envelope, length], envelope, scaleBits);
  return ranksOf(entry).flatMap((rank, p) => {
    const names = pathNames(name, p);
    return [
      signTensor(names.outSigns, rank, rows),
      signTensor(names.inSigns, rank, cols),
      ...scales(names.outScales, rows),
      ...scales(names.inScales, cols),
      ...(entry.midScale ? scales(names.midIn, rank) : []),
      ...(entry.midScale && envelope > 1 ? scales(names.midOut, rank) : []),
    ];
  });
}

function oneBitTensors(name: string, entry: OneBitEntry): TensorPlan[] {
  const { rows, cols, scaleBits } = entry;
  const names = oneBitNames(name);
  return [
    signTensor(names.signs, rows, cols),
    ...scaleTensors(names.outScales, [rows], 1, scaleBits),
    ...scaleTensors(names.inScales, [cols], 1, scaleBits),
  ];
}

function signTensor(name: string, rows: number, cols: number): TensorPlan {
  return { name, dtypes: ["I32"], shape: [rows, wordsPerRow(cols)], part: "signs" };
}

/** Scales of 32 or 16 bits, or codes of 8 and the bases of their `vectors` vectors. */
function scaleTensors(
  name: string,
  shape: readonly number[],
  vectors: number,
  scaleBits: ScaleBits,
): TensorPlan[] {
  if (scaleBits !== 8) return [{ name, dtypes: [scaleBits === 32 ? "F32" : "F16"], shape, part: "scales" }];
  return [
    { name, dtypes: ["U8"], shape, part: "scales" },
    { name: scaleBaseName(name), dtypes: ["F16"], shape: [vectors], part: "scales" },
  ];
}

/** Tensors of a dense [rows, cols] matrix whose weight tensor is called `weight`. */
export function matrixTensors(
  weight: string,
  entry: DenseEntry,
  part: "dense" | "embeddings" | "head",
): TensorPlan[] {
  const { rows, cols, bits } = entry;
  if (bits === 32) return [{ name: weight, dtypes: ["F32"], shape: [rows, cols], part }];
  if (bits === 16) return [{ name: weight, dtypes: ["F16", "BF16"], shape: [rows, cols], part }];
  const values: TensorPlan =
    bits === 8
      ? { name: weight, dtypes: ["I8"], shape: [rows, cols], part }
      : { name: weight, dtypes: ["U8"], shape: [rows, Math.ceil((cols * bits) / 8)], part };
  return [values, { name: rowScalesName(weight), dtypes: ["F16", "F32"], shape: [rows], part }];
}
