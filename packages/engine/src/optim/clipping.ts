/** Gradient clipping by the norm over all groups. */

/** sqrt(sum of squares over all arrays), in double precision. */
export function globalNorm(grads: Iterable<Float32Array>): number {
  let sum = 0;
  for (const grad of grads) for (const value of grad) sum += value * value;
  return Math.sqrt(sum);
}

/** What to multiply gradients with so that their norm is at most `limit`; pass it to an optimizer's `gradScale`. */
export function clipScale(norm: number, limit: number): number {
  return norm > limit ? limit / norm : 1;
}
