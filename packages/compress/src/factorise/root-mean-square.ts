/** Twice: the first sum tells the size by which the second is kept from over- and underflow; 0 for zeros. */
export function rootMeanSquare(values: Float32Array): number {
  let largest = 0;
  // By index: an iterator takes five times as long, and matrices may have hundreds of millions of entries.
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
  if (largest === 0) return 0;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] / largest) ** 2;
  return largest * Math.sqrt(sum / values.length);
}
