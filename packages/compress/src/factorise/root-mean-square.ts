/** Twice: the first sum tells the size by which the second is kept from over- and underflow; 0 for zeros. */
export function rootMeanSquare(values: Float32Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return 0;
  let sum = 0;
  for (const value of values) sum += (value / largest) ** 2;
  return largest * Math.sqrt(sum / values.length);
}
