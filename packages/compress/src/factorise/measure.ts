/** Errors of a stored linear against the matrix it stands for. */
import { type FactoredLinear, unpackSigns } from "@subbit/core";
import type { Program } from "@subbit/engine";
import type { Importance } from "./types.js";

/** Relative errors, plain and weighted by the importance as given; `residual` is the program of the linear's shape. */
export async function measure(
  weight: Float32Array,
  linear: FactoredLinear,
  residual: Program,
  importance: Importance | undefined,
): Promise<{ relError: number; weightedRelError: number }> {
  const { rows, cols } = linear;
  let left = weight;
  for (const { outSigns, inSigns, outScales, inScales, midIn, rank } of linear.paths) {
    const out = unpackSigns(outSigns);
    for (let i = 0; i < out.length; i++) out[i] *= outScales[Math.floor(i / rank)] * (midIn?.[i % rank] ?? 1);
    const signs = unpackSigns(inSigns);
    const into = new Float32Array(signs.length);
    for (let k = 0; k < rank; k++) {
      for (let col = 0; col < cols; col++) into[col * rank + k] = signs[k * cols + col] * inScales[col];
    }
    left = (await residual.run({ weight: left, left: out, right: into })).residual;
  }
  const ones = { rows: new Float32Array(rows).fill(1), cols: new Float32Array(cols).fill(1) };
  const moments = { rows: importance?.output ?? ones.rows, cols: importance?.input ?? ones.cols };
  return { relError: ratio(left, weight, ones), weightedRelError: ratio(left, weight, moments) };
}

/** sqrt(sum_ij o_i i_j E_ij^2 / sum_ij o_i i_j W_ij^2); 0 for a zero matrix. */
function ratio(
  error: Float32Array,
  weight: Float32Array,
  moments: { readonly rows: Float32Array; readonly cols: Float32Array },
): number {
  const cols = moments.cols.length;
  let lost = 0;
  let whole = 0;
  moments.rows.forEach((moment, row) => {
    let lostHere = 0;
    let wholeHere = 0;
    for (let col = 0; col < cols; col++) {
      const at = row * cols + col;
      const factor = moments.cols[col];
      lostHere += factor * error[at] ** 2;
      wholeHere += factor * weight[at] ** 2;
    }
    lost += moment * lostHere;
    whole += moment * wholeHere;
  });
  return whole > 0 ? Math.sqrt(lost / whole) : 0;
}
