/**
 * Scales of 8 bits: one base a vector and a logarithmic code a scale. Magnitudes of a scale vector spread over a factor
 * of a few, and what matters of a scale is its relative error; a logarithmic code makes that the same for all of them
 * (at most 1.1 % unsigned, 2.2 % signed), where a linear code would spend its precision on the largest.
 *
 * Unsigned (l = 1, whose canonical form has no negative scales): value = base * 2^(-code / 32), code 255 = 0.
 * Signed (l > 1): bit 7 is the sign, the rest c gives base * 2^(-c / 16), 127 = 0.
 * `base` is the largest magnitude of the vector in 16 bits, so one code of every vector is 0 and rounding twice is
 * rounding once.
 */
import { SubbitError } from "../errors.js";
import { f16ToF32, f32ToF16 } from "../tensors/half.js";

/** Codes to a factor of two. */
const UNSIGNED_STEPS = 32;
const SIGNED_STEPS = 16;

/** The code whose value is zero. */
const UNSIGNED_ZERO = 255;
const SIGNED_ZERO = 127;
const SIGN_BIT = 0x80;

/** The base of a vector whose largest magnitude would round to nothing in 16 bits. */
const SMALLEST_BASE = 2 ** -24;

/** Vectors of 8-bit scales as the file holds them. */
export interface ScaleCodes {
  /** [vectors, length] */
  readonly codes: Uint8Array;
  /** [vectors], values that 16 bits hold. */
  readonly bases: Float32Array;
}

/**
 * What each of the 256 codes multiplies its base with. The levels are f32 and a scale is the f32 product of base and
 * level, so that a reader which multiplies in f32 gets the same bits.
 */
export function scaleLevels(signed: boolean): Float32Array {
  return signed ? SIGNED_LEVELS : UNSIGNED_LEVELS;
}

const UNSIGNED_LEVELS = levelsOf(UNSIGNED_STEPS, UNSIGNED_ZERO, false);
const SIGNED_LEVELS = levelsOf(SIGNED_STEPS, SIGNED_ZERO, true);

function levelsOf(steps: number, zero: number, signed: boolean): Float32Array {
  // Powers of two are exact, so only the `steps` fractions depend on how well 2 ** x rounds; f32 hides its last bits.
  const fractions = Float32Array.from({ length: steps }, (_, i) => 2 ** (-i / steps));
  return Float32Array.from({ length: 256 }, (_, code) => {
    const magnitude = signed ? code & ~SIGN_BIT : code;
    if (magnitude === zero) return 0;
    const level = fractions[magnitude % steps] * 2 ** -Math.floor(magnitude / steps);
    return signed && (code & SIGN_BIT) !== 0 ? -level : level;
  });
}

/**
 * The nearest codes of `vectors` vectors that lie one after the other. A scale that is not zero stays so: it gets the
 * smallest level when it is below. Throws `input` for a scale beyond 65504 or not a number, `internal` for a negative
 * one without `signed`.
 */
export function encodeScales(scales: Float32Array, vectors: number, signed: boolean): ScaleCodes {
  const length = scales.length / vectors;
  const codes = new Uint8Array(scales.length);
  const bases = new Float32Array(vectors);
  for (let v = 0; v < vectors; v++) {
    const vector = scales.subarray(v * length, (v + 1) * length);
    const { base, largest } = baseOf(vector);
    bases[v] = base;
    for (let i = 0; i < length; i++) codes[v * length + i] = encodeScale(vector[i], base, largest, signed);
  }
  return { codes, bases };
}

function baseOf(vector: Float32Array): { base: number; largest: number } {
  let largest = 0;
  for (const scale of vector) {
    const magnitude = Math.abs(scale);
    if (!Number.isFinite(magnitude)) throw lost(scale);
    largest = Math.max(largest, magnitude);
  }
  if (largest === 0) return { base: 0, largest };
  const rounded = f16ToF32(f32ToF16(Float32Array.of(largest)))[0];
  if (!Number.isFinite(rounded)) throw lost(largest);
  return { base: Math.max(rounded, SMALLEST_BASE), largest };
}

function encodeScale(scale: number, base: number, largest: number, signed: boolean): number {
  if (scale === 0) return signed ? SIGNED_ZERO : UNSIGNED_ZERO;
  if (scale < 0 && !signed) {
    throw new SubbitError(
      "internal",
      `The scale ${scale} met a code without a sign; bring the path into its canonical form first.`,
    );
  }
  const magnitude = Math.abs(scale);
  const steps = signed ? SIGNED_STEPS : UNSIGNED_STEPS;
  const last = (signed ? SIGNED_ZERO : UNSIGNED_ZERO) - 1;
  // The largest is the base, however far 16 bits moved it: its code must be 0 for the base to be found again.
  const nearest = magnitude === largest ? 0 : Math.round(-steps * Math.log2(magnitude / base));
  const code = Math.min(last, Math.max(0, nearest));
  return signed && scale < 0 ? code | SIGN_BIT : code;
}

function lost(scale: number): SubbitError {
  return new SubbitError(
    "input",
    `A scale has the value ${scale}, which 16 bits cannot hold; check the weights for values that are not finite or absurdly large.`,
  );
}

/** The scales that codes stand for, [vectors, length]; a zero is never negative. */
export function decodeScales(stored: ScaleCodes, signed: boolean): Float32Array {
  const { codes, bases } = stored;
  const levels = scaleLevels(signed);
  const length = codes.length / bases.length;
  const scales = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    // Adding zero turns -0 (a negative code on a base of 0) into 0.
    scales[i] = bases[Math.floor(i / length)] * levels[codes[i]] + 0;
  }
  return scales;
}

/** The scales as 8 bits hold them. Throws as `encodeScales` does. */
export function roundToCodes(scales: Float32Array, vectors: number, signed: boolean): Float32Array {
  return decodeScales(encodeScales(scales, vectors, signed), signed);
}
