/** log2 of the root mean square; -Infinity for zeros. What balancing evens out. */
export function sizeLog2(vector: Float32Array): number {
  let sum = 0;
  for (const value of vector) sum += value * value;
  return Math.log2(Math.sqrt(sum / vector.length));
}
