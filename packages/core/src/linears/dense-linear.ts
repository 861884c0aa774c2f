/** Dense matrices in all their storages, widened to f32: a row, or all of them. */
import { SubbitError } from "../errors.js";
import { bf16ToF32, f16ToF32 } from "../tensors/half.js";
import type { DenseLinear } from "./types.js";

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
    case "i2": {
      const scale = storage.rowScales[row];
      const rowStart = row * Math.ceil(cols / 4);
      for (let col = 0; col < cols; col++) {
        const four = storage.values[rowStart + (col >>> 2)];
        out[col] = (((four >>> (2 * (col & 3))) & 3) - 1.5) * scale;
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
