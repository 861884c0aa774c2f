/** From what a method found to what is stored: importance folded out, signs packed, scales rounded. */
import {
  type FactoredLinear,
  type FactoredPath,
  inputError,
  packSigns,
  storedForm,
  unpackSigns,
} from "@subbit/core";
import type { AdmmShape } from "./admm-program.js";
import type { RawPath } from "./admm.js";
import type { Weights } from "./importance.js";
import type { PathLatents } from "./types.js";

/** Stands for a latent of exactly zero whose stored sign is negative. */
const SMALLEST_LATENT = 1e-20;

/** The linear whose folded matrix, divided by `size`, the paths fit; in its stored form. Throws `input` beyond 16 bits' reach. */
export function storedLinear(
  paths: readonly RawPath[],
  shape: AdmmShape,
  weights: Weights,
  size: number,
): FactoredLinear {
  const { rows, cols, rank } = shape;
  const folded = paths.map((path): FactoredPath => {
    const { outLatents, outScales, inScales, midScales } = path;
    const finite = [outScales, inScales, midScales ?? []].every((scales) => scales.every(Number.isFinite));
    if (!finite)
      throw inputError(
        "The factorisation ran out of the numbers' range; check the weight for absurd values.",
      );
    return {
      rank,
      envelope: 1,
      outSigns: packSigns(outLatents, rows, rank),
      inSigns: packSigns(transposed(path.inLatents, cols, rank), rank, cols),
      outScales: outScales.map((scale, row) => scale / weights.rows[row]),
      inScales: inScales.map((scale, col) => (scale * size) / weights.cols[col]),
      ...(midScales && { midIn: midScales }),
    };
  });
  return storedForm({ kind: "factored", rows, cols, paths: folded });
}

/** Sizes of the latents with the signs that are stored (the stored form moves signs between the factors of a path). */
export function alignLatents(paths: readonly RawPath[], linear: FactoredLinear): PathLatents[] {
  return paths.map((path, p) => {
    const { outSigns, inSigns, rank } = linear.paths[p];
    return {
      outLatents: signed(path.outLatents, unpackSigns(outSigns)),
      inLatents: signed(transposed(path.inLatents, linear.cols, rank), unpackSigns(inSigns)),
    };
  });
}

/** A path that computes zero. */
export function zeroPath({ rows, cols, rank }: AdmmShape, midScale: boolean): RawPath {
  return {
    outLatents: new Float32Array(rows * rank),
    inLatents: new Float32Array(cols * rank),
    outScales: new Float32Array(rows),
    inScales: new Float32Array(cols),
    ...(midScale && { midScales: new Float32Array(rank) }),
  };
}

function signed(sizes: Float32Array, signs: Float32Array): Float32Array {
  return sizes.map((value, i) => Math.max(Math.abs(value), SMALLEST_LATENT) * signs[i]);
}

/** [rows, cols] -> [cols, rows] */
function transposed(values: Float32Array, rows: number, cols: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) result[col * rows + row] = values[row * cols + col];
  }
  return result;
}
