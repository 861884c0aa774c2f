/**
 * Scales as the file holds them: rounded to 16 bits, or to codes of 8. Whoever measures a linear before it is written
 * rounds it by these functions first, so that what was measured is what ships.
 */
import { SubbitError } from "../errors.js";
import { f16ToF32, f32ToF16 } from "../tensors/half.js";
import { balanceScales, canonicalisePath } from "./factored-linear.js";
import { balanceOneBit, canonicaliseOneBit } from "./onebit-linear.js";
import { roundToCodes } from "./scale-codes.js";
import type { FactoredLinear, FactoredPath, OneBitLinear, ScaleBits } from "./types.js";

/**
 * Each scale rounded to the nearest value of `scaleBits`, nothing else changed. Throws `input` for one beyond 65504 or not
 * a number, `internal` for 8 bits of a path of l = 1 with negative scales (`canonicalisePath` has none).
 */
export function roundScales(path: FactoredPath, scaleBits: ScaleBits = 16): FactoredPath {
  const { midIn, midOut, envelope } = path;
  const round = (scales: Float32Array): Float32Array => roundVectors(scales, envelope, scaleBits);
  return {
    ...path,
    outScales: round(path.outScales),
    inScales: round(path.inScales),
    ...(midIn && { midIn: round(midIn) }),
    ...(midOut && { midOut: round(midOut) }),
  };
}

function roundVectors(scales: Float32Array, envelope: number, scaleBits: ScaleBits): Float32Array {
  if (scaleBits === 8) return roundToCodes(scales, envelope, envelope > 1);
  const rounded = scaleBits === 32 ? scales : f16ToF32(f32ToF16(scales));
  const lost = rounded.findIndex((scale) => !Number.isFinite(scale));
  if (lost >= 0) {
    throw new SubbitError(
      "input",
      `A scale has the value ${scales[lost]}, which ${scaleBits} bits cannot hold; check the weights for values that are not finite or absurdly large.`,
    );
  }
  return rounded;
}

/**
 * The linear as it will be stored: canonical, and, where a scale does not fit its width exactly yet, balanced and
 * rounded. A linear in this form comes back unchanged, so what was measured in it is what is written.
 * Throws `input` for scales that are not finite or beyond what 16 bits hold.
 */
export function storedForm(linear: FactoredLinear): FactoredLinear;
export function storedForm(linear: OneBitLinear): OneBitLinear;
export function storedForm(linear: FactoredLinear | OneBitLinear): FactoredLinear | OneBitLinear;
export function storedForm(linear: FactoredLinear | OneBitLinear): FactoredLinear | OneBitLinear {
  const { scaleBits = 16 } = linear;
  if (linear.kind === "onebit") return storedOneBit(linear, scaleBits);
  return { ...linear, paths: linear.paths.map((path) => storedPath(path, scaleBits)) };
}

function storedPath(path: FactoredPath, scaleBits: ScaleBits): FactoredPath {
  const canonical = canonicalisePath(path);
  const rounded = vectorsOf(canonical).every((vector) => isRounded(vector, path.envelope, scaleBits));
  return rounded ? canonical : roundScales(balanceScales(canonical), scaleBits);
}

function storedOneBit(linear: OneBitLinear, scaleBits: ScaleBits): OneBitLinear {
  const canonical = canonicaliseOneBit(linear);
  if ([canonical.outScales, canonical.inScales].every((vector) => isRounded(vector, 1, scaleBits)))
    return canonical;
  const balanced = balanceOneBit(canonical);
  return {
    ...balanced,
    outScales: roundVectors(balanced.outScales, 1, scaleBits),
    inScales: roundVectors(balanced.inScales, 1, scaleBits),
  };
}

/**
 * The linear with the narrowest scales of 16 or 32 bits that lose nothing: what a file of its own will hold is exactly
 * what it computes now. A width that was chosen already stays. Throws `input` for scales that are not finite.
 */
export function losslessWidth(linear: FactoredLinear): FactoredLinear;
export function losslessWidth(linear: OneBitLinear): OneBitLinear;
export function losslessWidth(linear: FactoredLinear | OneBitLinear): FactoredLinear | OneBitLinear;
export function losslessWidth(linear: FactoredLinear | OneBitLinear): FactoredLinear | OneBitLinear {
  if (linear.scaleBits !== undefined && linear.scaleBits !== 32) return linear;
  const fits =
    linear.kind === "factored"
      ? linear.paths.every((path) =>
          fitsHalves(vectorsOf(balanceScales(canonicalisePath(path))), path.envelope),
        )
      : fitsHalves(oneBitVectors(balanceOneBit(canonicaliseOneBit(linear))), 1);
  const fitsAsItIs =
    linear.kind === "factored"
      ? linear.paths.every((path) => fitsHalves(vectorsOf(path), path.envelope))
      : fitsHalves(oneBitVectors(linear), 1);
  return { ...linear, scaleBits: fits || fitsAsItIs ? 16 : 32 };
}

function vectorsOf({ outScales, inScales, midIn, midOut }: FactoredPath): Float32Array[] {
  return [outScales, inScales, ...(midIn ? [midIn] : []), ...(midOut ? [midOut] : [])];
}

function oneBitVectors({ outScales, inScales }: OneBitLinear): Float32Array[] {
  return [outScales, inScales];
}

function fitsHalves(vectors: readonly Float32Array[], envelope: number): boolean {
  return vectors.every((vector) => isRounded(vector, envelope, 16));
}

/** Whether the file would give back every scale as it is. */
function isRounded(scales: Float32Array, envelope: number, scaleBits: ScaleBits): boolean {
  // A vector that cannot be rounded as it stands may be once it is balanced.
  if (scaleBits !== 32 && !scales.every((scale) => Math.abs(scale) <= LARGEST_SCALE)) return false;
  const rounded = roundVectors(scales, envelope, scaleBits);
  return scales.every((scale, i) => Object.is(scale, rounded[i]));
}

/** The largest value of 16 bits. */
const LARGEST_SCALE = 65504;
