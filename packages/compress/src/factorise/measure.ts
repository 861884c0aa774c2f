/** Errors of a stored linear against the matrix it stands for. */
import { type FactoredLinear, type OneBitLinear, transposeSigns, unpackSigns } from "@subbit/core";
import type { Programs } from "./programs.js";
import { residualOf } from "./row-slabs.js";
import { signedEnvelope } from "./sign-path.js";
import type { Importance } from "./types.js";

/** Relative errors, plain and weighted by the importance as given (not shrunk). */
export async function measure(
  weight: Float32Array,
  linear: FactoredLinear | OneBitLinear,
  programs: Programs,
  importance: Importance | undefined,
): Promise<{ relError: number; weightedRelError: number }> {
  const { rows, cols } = linear;
  const error =
    linear.kind === "onebit" ? oneBitError(weight, linear) : await factoredError(weight, linear, programs);
  const plain = { rows: new Float32Array(rows).fill(1), cols: new Float32Array(cols).fill(1) };
  const relError = ratio(energy(error, plain), energy(weight, plain));
  const gram = importance?.inputGram;
  const moments = { rows: importance?.output ?? plain.rows, cols: importance?.input ?? plain.cols };
  if (!gram) {
    return { relError, weightedRelError: ratio(energy(error, moments), energy(weight, moments)) };
  }
  const energyOf = async (matrix: Float32Array): Promise<number> => {
    const turned = await programs.product(matrix, gram, { m: rows, k: cols, n: cols });
    return rowDots(matrix, turned, moments.rows);
  };
  return { relError, weightedRelError: ratio(await energyOf(error), await energyOf(weight)) };
}

async function factoredError(
  weight: Float32Array,
  { rows, cols, paths }: FactoredLinear,
  programs: Programs,
): Promise<Float32Array> {
  let error = weight;
  for (const path of paths) {
    const { rank, envelope, outSigns, inSigns, outScales, inScales, midIn, midOut } = path;
    error = await residualOf({
      weight: error,
      left: signedEnvelope(unpackSigns(outSigns), envelope, outScales, midOut),
      right: signedEnvelope(unpackSigns(transposeSigns(inSigns)), envelope, inScales, midIn),
      shape: { rows, cols, rank },
      programs,
    });
  }
  return error;
}

function oneBitError(weight: Float32Array, { cols, signs, outScales, inScales }: OneBitLinear): Float32Array {
  const made = unpackSigns(signs);
  return made.map((sign, at) => weight[at] - sign * outScales[Math.floor(at / cols)] * inScales[at % cols]);
}

/** sum_ij o_i i_j M_ij^2. */
function energy(
  matrix: Float32Array,
  moments: { readonly rows: Float32Array; readonly cols: Float32Array },
): number {
  const cols = moments.cols.length;
  let sum = 0;
  moments.rows.forEach((moment, row) => {
    let here = 0;
    for (let col = 0; col < cols; col++) here += moments.cols[col] * matrix[row * cols + col] ** 2;
    sum += moment * here;
  });
  return sum;
}

/** sum_i o_i <a_i, b_i>. */
function rowDots(a: Float32Array, b: Float32Array, moments: Float32Array): number {
  const cols = a.length / moments.length;
  let sum = 0;
  moments.forEach((moment, row) => {
    let here = 0;
    for (let col = 0; col < cols; col++) here += a[row * cols + col] * b[row * cols + col];
    sum += moment * here;
  });
  return sum;
}

/** 0 for a zero matrix. */
function ratio(lost: number, whole: number): number {
  return whole > 0 ? Math.sqrt(Math.max(0, lost) / whole) : 0;
}
