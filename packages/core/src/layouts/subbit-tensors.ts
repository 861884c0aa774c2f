/**
 * The tensors of the subbit layout: which names, dtypes and shapes a linear's manifest entry asks for.
 * Writer, reader and bit accounting all go by this one list, so they cannot disagree. docs/format.md shows it as a table.
 */
import { wordsPerRow } from "../linears/sign-matrix.js";
import type { StoredDtype } from "../checkpoints/types.js";
import type { DenseEntry, FactoredEntry, LinearEntry, StoredBytes } from "./manifest.js";

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

/** `x.weight` -> `x.row_scales` */
export function rowScalesName(weight: string): string {
  return `${weight.replace(/\.weight$/, "")}.row_scales`;
}

/** Tensors of the linear called `name` (no `.weight`), in the order of the file. */
export function linearTensors(name: string, entry: LinearEntry): TensorPlan[] {
  const tensors =
    entry.kind === "factored"
      ? factoredTensors(name, entry)
      : matrixTensors(`${name}.weight`, entry, "dense");
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

function factoredTensors(name: string, entry: FactoredEntry): TensorPlan[] {
  const { rows, cols, rank, paths, envelope } = entry;
  const signs = (tensor: string, length: number): TensorPlan => ({
    name: tensor,
    dtypes: ["I32"],
    shape: [rank, wordsPerRow(length)],
    part: "signs",
  });
  const scales = (tensor: string, length: number): TensorPlan => ({
    name: tensor,
    dtypes: ["F16"],
    shape: [envelope, length],
    part: "scales",
  });
  return Array.from({ length: paths }, (_, p) => pathNames(name, p)).flatMap((names) => [
    signs(names.outSigns, rows),
    signs(names.inSigns, cols),
    scales(names.outScales, rows),
    scales(names.inScales, cols),
    ...(entry.midScale ? [scales(names.midIn, rank)] : []),
    ...(entry.midScale && envelope > 1 ? [scales(names.midOut, rank)] : []),
  ]);
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
      : { name: weight, dtypes: ["U8"], shape: [rows, Math.ceil(cols / 2)], part };
  return [values, { name: rowScalesName(weight), dtypes: ["F16", "F32"], shape: [rows], part }];
}
