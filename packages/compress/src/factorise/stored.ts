/** From what a method found to what is stored: importance folded out, signs packed, scales rounded. */
import {
  type FactoredLinear,
  type FactoredPath,
  inputError,
  type OneBitLinear,
  packSigns,
  type ScaleBits,
  signAt,
  type SignMatrix,
  storedForm,
} from "@subbit/core";
import type { Weights } from "./importance.js";
import type { Envelope } from "./methods/method.js";
import { rootMeanSquare } from "./root-mean-square.js";
import { type SignPath, transposed } from "./sign-path.js";
import type { PathLatents } from "./types.js";

/** Stands for a latent of exactly zero whose stored sign is negative. */
const SMALLEST_LATENT = 1e-20;

/**
 * The linear whose folded matrix, divided by `size`, the paths fit; in its stored form. Throws `input` beyond the reach of
 * stored scales.
 */
export function storedLinear(
  paths: readonly SignPath[],
  { rows, cols }: { readonly rows: number; readonly cols: number },
  weights: Weights,
  size: number,
  scaleBits: ScaleBits,
): FactoredLinear {
  const unfolded = paths.map((path): FactoredPath => {
    const { envelope = 1, outLatents, outScales, inScales, midScales, midOutScales } = path;
    checkFinite(outScales, inScales, midScales, midOutScales);
    const rank = outLatents.length / rows;
    return {
      rank,
      envelope,
      outSigns: packSigns(outLatents, rows, rank),
      inSigns: packSigns(transposed(path.inLatents, cols, rank), rank, cols),
      outScales: outScales.map((scale, at) => scale / weights.rows[at % rows]),
      inScales: inScales.map((scale, at) => (scale * size) / weights.cols[at % cols]),
      ...(midScales && { midIn: midScales }),
      ...(midOutScales && { midOut: midOutScales }),
    };
  });
  return storedForm({ kind: "factored", rows, cols, paths: unfolded, scaleBits });
}

/** The same for a full-rank sign matrix; `weight` [rows, cols] gives the signs. */
export function storedOneBit(
  weight: Float32Array,
  { outScales, inScales }: Envelope,
  weights: Weights,
  size: number,
  scaleBits: ScaleBits,
): OneBitLinear {
  checkFinite(outScales, inScales);
  const [rows, cols] = [outScales.length, inScales.length];
  return storedForm({
    kind: "onebit",
    rows,
    cols,
    signs: packSigns(weight, rows, cols),
    outScales: outScales.map((scale, row) => scale / weights.rows[row]),
    inScales: inScales.map((scale, col) => (scale * size) / weights.cols[col]),
    scaleBits,
  });
}

function checkFinite(...vectors: readonly (Float32Array | undefined)[]): void {
  if (vectors.every((scales) => scales === undefined || scales.every(Number.isFinite))) return;
  throw inputError("The factorisation ran out of the numbers' range; check the weight for absurd values.");
}

/**
 * Sizes of the latents with the signs that are stored (the stored form moves signs between the factors of a path). The
 * paths' own arrays may be among the results.
 */
export function alignLatents(paths: readonly SignPath[], linear: FactoredLinear): PathLatents[] {
  return paths.map((path, p) => {
    const { outSigns, inSigns, rank } = linear.paths[p];
    return {
      outLatents: takeSigns(path.outLatents, outSigns),
      inLatents: takeSigns(transposed(path.inLatents, linear.cols, rank), inSigns),
    };
  });
}

/** The weight at unit root mean square, with the signs that are stored. */
export function alignFullLatents(weight: Float32Array, linear: OneBitLinear): Float32Array {
  const size = rootMeanSquare(weight) || 1;
  return takeSigns(
    weight.map((value) => value / size),
    linear.signs,
  );
}

/** In place. */
function takeSigns(sizes: Float32Array, signs: SignMatrix): Float32Array {
  for (let row = 0, at = 0; row < signs.rows; row++) {
    for (let col = 0; col < signs.cols; col++, at++) {
      sizes[at] = Math.max(Math.abs(sizes[at]), SMALLEST_LATENT) * signAt(signs, row, col);
    }
  }
  return sizes;
}
