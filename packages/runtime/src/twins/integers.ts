/** Twin of the rounding of rows to integers with one step size a row. */
import { nearest } from "./arithmetic.js";

const f = Math.fround;

export function toIntegers(row: Float32Array, limit: number): { integers: Int32Array; step: number } {
  const size = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const inverse = size > f(1e-30) ? f(limit / size) : 0;
  return {
    integers: Int32Array.from(row, (value) => nearest(f(value * inverse))),
    step: f(size / limit),
  };
}
