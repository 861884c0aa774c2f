/**
 * Scales as the file holds them: rounded to 16 bits. Whoever measures a linear before it is written rounds it by these
 * functions first, so that what was measured is what ships.
 */
import { SubbitError } from "../errors.js";
import { f16ToF32, f32ToF16 } from "../tensors/half.js";
import { balanceScales, canonicalisePath } from "./factored-linear.js";
import type { FactoredLinear, FactoredPath } from "./types.js";

/** Each scale rounded to the nearest 16-bit value, nothing else changed. Throws `input` for one beyond 65504 or not a number. */
export function roundScales(path: FactoredPath): FactoredPath {
  const { midIn, midOut } = path;
  return {
    ...path,
    outScales: round(path.outScales),
    inScales: round(path.inScales),
    ...(midIn && { midIn: round(midIn) }),
    ...(midOut && { midOut: round(midOut) }),
  };
}

function round(scales: Float32Array): Float32Array {
  const rounded = f16ToF32(f32ToF16(scales));
  const lost = rounded.findIndex((scale) => !Number.isFinite(scale));
  if (lost >= 0) {
    throw new SubbitError(
      "input",
      `A scale has the value ${scales[lost]}, which 16 bits cannot hold; check the weights for values that are not finite or absurdly large.`,
    );
  }
  return rounded;
}

/**
 * The linear as it will be stored: paths canonical, and, where a scale does not fit 16 bits exactly yet, balanced and
 * rounded. A linear in this form comes back unchanged, so what was measured in it is what is written.
 */
export function storedForm(linear: FactoredLinear): FactoredLinear {
  return {
    ...linear,
    paths: linear.paths.map((path) => {
      const canonical = canonicalisePath(path);
      return isRounded(canonical) ? canonical : roundScales(balanceScales(canonical));
    }),
  };
}

function isRounded(path: FactoredPath): boolean {
  const vectors = [path.outScales, path.inScales, path.midIn, path.midOut];
  return vectors.every((vector) => {
    if (vector === undefined) return true;
    const rounded = f16ToF32(f32ToF16(vector));
    return vector.every((scale, i) => scale === rounded[i] && Number.isFinite(scale));
  });
}
