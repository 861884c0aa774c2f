/** Quantising the rows of a dense matrix to codes of 8, 4 or 2 bits with one scale a row, by least squares. */
import { SubbitError } from "../errors.js";
import { f16BitsToF32, f32ToF16Bits } from "../tensors/half.js";
import { bestTwoBitScale, twoBitCode } from "./two-bit-scale.js";
import { denseRow } from "./dense-linear.js";
import type { DenseLinear, DenseStorage } from "./types.js";

/** Clipping ranges that are tried, as a share of the row's largest value: 8 bits gain little from clipping, 4 bits a lot. */
const CLIPS_8 = [1, 0.96] as const;
const CLIPS_4 = [1, 0.94, 0.88, 0.82, 0.76, 0.7, 0.64, 0.58] as const;

/** Below this a scale rounded to 16 bits (whose unit is then 2^-24) would lose more than codes of 8 bits do. */
const SMALLEST_F16_SCALE = 2 ** -15;

/**
 * Rows of 8, 4 or 2-bit codes with the scale that leaves the least squared error: for 8 and 4 bits the best among
 * several clippings, refitted; for 2 bits the best there is. Scales are exact in 16 bits wherever that costs nothing;
 * the source may be in any storage. Throws `input` for values that are not finite.
 */
export function quantiseRows(source: DenseLinear, bits: 8 | 4 | 2): DenseLinear {
  const { rows, cols } = source;
  const rowScales = new Float32Array(rows);
  const row = new Float32Array(cols);
  const codes = new Int8Array(cols);
  const rowBytes = Math.ceil((cols * bits) / 8);
  const packed = new Uint8Array(rows * rowBytes);
  for (let r = 0; r < rows; r++) {
    denseRow(source, r, row);
    rowScales[r] = bestScale(row, codes, bits);
    packRow(codes, bits, packed.subarray(r * rowBytes, (r + 1) * rowBytes));
  }
  const storage: DenseStorage =
    bits === 8
      ? { dtype: "i8", values: new Int8Array(packed.buffer), rowScales }
      : { dtype: bits === 4 ? "i4" : "i2", values: packed, rowScales };
  return { kind: "dense", rows, cols, storage, ...(source.bias && { bias: source.bias }) };
}

/** What is added to a code before it is stored, so that it is not negative. */
const CODE_OFFSETS = { 8: 0, 4: 8, 2: 0 } as const;

/** First column in the lowest bits; the padding of 4 bits is their zero, an 8, that of 2 bits is clear. */
function packRow(codes: Int8Array, bits: 8 | 4 | 2, out: Uint8Array): void {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const offset = CODE_OFFSETS[bits];
  for (let at = 0; at < out.length; at++) {
    let byte = 0;
    for (let i = 0; i < perByte; i++) {
      const col = at * perByte + i;
      byte |= (((col < codes.length ? codes[col] : 0) + offset) & mask) << (bits * i);
    }
    out[at] = byte;
  }
}

/** Writes the best codes of `row` and returns their scale. */
function bestScale(row: Float32Array, codes: Int8Array, bits: 8 | 4 | 2): number {
  let low = 0;
  let high = 0;
  for (const value of row) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const largest = Math.max(high, -low);
  // Of the 2-bit codes none is zero: a row of zeros has the scale 0.
  codes.fill(bits === 2 ? twoBitCode(0) : 0);
  if (largest === 0) return 0;
  if (!Number.isFinite(largest)) {
    throw new SubbitError(
      "input",
      "A weight matrix holds a value that is not finite, so it cannot be quantised.",
    );
  }
  if (bits === 2) {
    const scale = roundScale(bestTwoBitScale(row));
    if (scale === 0) return 0; // below what f32 holds
    codes.forEach((_, i) => (codes[i] = twoBitCode(row[i] / scale)));
    return scale;
  }
  const min = bits === 8 ? -127 : -8;
  const max = bits === 8 ? 127 : 7;
  // Four bits reach one code further down than up, so the larger tail is put there: the scale takes its sign.
  const end = bits === 8 ? largest / max : (-low >= high ? low : high) / min;
  const fit: Fit = { error: Infinity, scale: 0, refitted: roundScale(end) };
  for (const clip of bits === 8 ? CLIPS_8 : CLIPS_4) tryScale(row, roundScale(end * clip), min, max, fit);
  for (let refit = 0; refit < 2; refit++) tryScale(row, fit.refitted, min, max, fit);
  const inverse = 1 / fit.scale;
  for (let i = 0; i < row.length; i++) codes[i] = encode(row[i] * inverse, min, max);
  return fit.scale;
}

/** The best scale so far. */
interface Fit {
  error: number;
  scale: number;
  /** The scale that fits the best scale's codes by least squares. */
  refitted: number;
}

function encode(value: number, min: number, max: number): number {
  const code = Math.floor(value + 0.5);
  return code < min ? min : code > max ? max : code;
}

/** Takes the scale into `fit` when its squared error is the least so far. */
function tryScale(row: Float32Array, scale: number, min: number, max: number, fit: Fit): void {
  const inverse = 1 / scale;
  let error = 0;
  let dot = 0;
  let square = 0;
  for (let i = 0; i < row.length; i++) {
    const value = row[i];
    const code = encode(value * inverse, min, max);
    const rest = value - code * scale;
    error += rest * rest;
    dot += value * code;
    square += code * code;
  }
  if (!(error < fit.error)) return;
  fit.error = error;
  fit.scale = scale;
  fit.refitted = dot === 0 || square === 0 ? scale : roundScale(dot / square);
}

/** The nearest 16-bit value where such a value is precise enough, else the f32 value. */
function roundScale(scale: number): number {
  const rounded = f16BitsToF32(f32ToF16Bits(scale));
  const precise = Math.abs(rounded) >= SMALLEST_F16_SCALE && Number.isFinite(rounded);
  return precise ? rounded : Math.fround(scale);
}
