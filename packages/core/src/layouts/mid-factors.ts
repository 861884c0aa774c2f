/**
 * Middle scales that a file stores as two vectors whose product they are (LittleBit's u2 and v1, MDBF's two amplitudes
 * with l = 1). A path holds the product, which f32 has exactly; the two vectors are remembered beside it, so that
 * writing the path gives back the bytes it came from. A path that was changed in any way is another object and has none.
 */
import type { FactoredPath } from "../linears/types.js";

export interface MidFactors {
  /** Next to S_out: LittleBit's u2, MDBF's Q_U. */
  readonly out: Float32Array;
  /** Next to S_in: LittleBit's v1, MDBF's Q_V. */
  readonly in: Float32Array;
}

const remembered = new WeakMap<FactoredPath, MidFactors>();

/** The path with the product of the two vectors as its middle scale (l = 1). */
export function withMidFactors(
  path: Omit<FactoredPath, "midIn" | "midOut">,
  factors: MidFactors,
): FactoredPath {
  const whole: FactoredPath = { ...path, midIn: factors.out.map((value, k) => value * factors.in[k]) };
  remembered.set(whole, factors);
  return whole;
}

/** Two vectors whose product is the middle scale of a path with l = 1: as they were read, else the scale and ones. */
export function midFactors(path: FactoredPath): MidFactors {
  const known = remembered.get(path);
  if (known !== undefined) return known;
  const ones = new Float32Array(path.rank).fill(1);
  return { out: path.midIn ?? ones, in: ones };
}
