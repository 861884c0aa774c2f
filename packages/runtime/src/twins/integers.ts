/** Twin of the rounding of rows to integers with one step size a row. */
const f = Math.fround;
/** 1.5 * 2^23: added to a float, it leaves the nearest integer, ties to even. */
const SHIFT = 12582912;

export function toIntegers(row: Float32Array, limit: number): { integers: Int32Array; step: number } {
  const size = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const inverse = size > f(1e-30) ? f(limit / size) : 0;
  return {
    integers: Int32Array.from(row, (value) => f(f(value * inverse) + SHIFT) - SHIFT),
    step: f(size / limit),
  };
}
