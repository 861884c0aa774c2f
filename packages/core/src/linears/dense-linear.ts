/**
 * Dense matrices in all their storages: widening rows to f32, and quantising rows to 8 or 4 bits with one scale a row.
 */
import { SubbitError } from "../errors.js";
import { bf16ToF32, f16BitsToF32, f16ToF32, f32ToF16Bits } from "../tensors/half.js";
import type { DenseLinear, DenseStorage } from "./types.js";

/**
 * One row as f32, [cols].
 *
 * @param out where to write @default a new array
 */
export function denseRow(
  linear: DenseLinear,
  row: number,
  out = new Float32Array(linear.cols),
): Float32Array {
  const { cols, storage } = linear;
  if (row < 0 || row >= linear.rows) {
    throw new SubbitError("internal", `Row ${row} was asked of a matrix of ${linear.rows} rows.`);
  }
  const start = row * cols;
  switch (storage.dtype) {
    case "f32":
      out.set(storage.values.subarray(start, start + cols));
      return out;
    case "f16":
      return f16ToF32(storage.values.subarray(start, start + cols), out);
    case "bf16":
      return bf16ToF32(storage.values.subarray(start, start + cols), out);
    case "i8": {
      const scale = storage.rowScales[row];
      for (let col = 0; col < cols; col++) out[col] = storage.values[start + col] * scale;
      return out;
    }
    case "i4": {
      const scale = storage.rowScales[row];
      const rowStart = row * Math.ceil(cols / 2);
      for (let col = 0; col < cols; col++) {
        const pair = storage.values[rowStart + (col >>> 1)];
        out[col] = (((pair >>> (4 * (col & 1))) & 15) - 8) * scale;
      }
      return out;
    }
  }
}

/** All values as f32, [rows, cols]. */
export function denseValues(linear: DenseLinear): Float32Array {
  const { rows, cols, storage } = linear;
  if (storage.dtype === "f32") return storage.values;
  if (storage.dtype === "f16") return f16ToF32(storage.values);
  if (storage.dtype === "bf16") return bf16ToF32(storage.values);
  const values = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) denseRow(linear, row, values.subarray(row * cols, (row + 1) * cols));
  return values;
}

/** A matrix of f32 values, [rows, cols]. */
export function denseFromF32(
  values: Float32Array,
  rows: number,
  cols: number,
  bias?: Float32Array,
): DenseLinear {
  return { kind: "dense", rows, cols, storage: { dtype: "f32", values }, ...(bias && { bias }) };
}

/** Clipping ranges that are tried, as a share of the row's largest value: 8 bits gain little from clipping, 4 bits a lot. */
const CLIPS_8 = [1, 0.96] as const;
const CLIPS_4 = [1, 0.94, 0.88, 0.82, 0.76, 0.7, 0.64, 0.58] as const;

/** Below this a scale rounded to 16 bits (whose unit is then 2^-24) would lose more than codes of 8 bits do. */
const SMALLEST_F16_SCALE = 2 ** -15;

/**
 * Rows of 8 or 4-bit codes with the scale that leaves the least squared error among several clippings, refitted
 * by least squares. Scales are exact in 16 bits wherever that costs nothing; the source may be in any storage.
 */
export function quantiseRows(source: DenseLinear, bits: 8 | 4): DenseLinear {
  const { rows, cols } = source;
  const rowScales = new Float32Array(rows);
  const row = new Float32Array(cols);
  const codes = new Int8Array(cols);
  const packedCols = Math.ceil(cols / 2);
  const values8 = new Int8Array(bits === 8 ? rows * cols : 0);
  const values4 = new Uint8Array(bits === 4 ? rows * packedCols : 0).fill(0x88);
  for (let r = 0; r < rows; r++) {
    denseRow(source, r, row);
    rowScales[r] = bestScale(row, codes, bits);
    if (bits === 8) {
      values8.set(codes, r * cols);
    } else {
      for (let col = 0; col < cols; col++) {
        const shift = 4 * (col & 1);
        const at = r * packedCols + (col >>> 1);
        values4[at] = (values4[at] & (0xf0 >>> shift)) | ((codes[col] + 8) << shift);
      }
    }
  }
  const storage: DenseStorage =
    bits === 8 ? { dtype: "i8", values: values8, rowScales } : { dtype: "i4", values: values4, rowScales };
  return { kind: "dense", rows, cols, storage, ...(source.bias && { bias: source.bias }) };
}

/** Writes the best codes of `row` and returns their scale. */
function bestScale(row: Float32Array, codes: Int8Array, bits: 8 | 4): number {
  let low = 0;
  let high = 0;
  for (const value of row) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const largest = Math.max(high, -low);
  codes.fill(0);
  if (largest === 0) return 0;
  if (!Number.isFinite(largest)) {
    throw new SubbitError(
      "input",
      "A weight matrix holds a value that is not finite, so it cannot be quantised.",
    );
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
