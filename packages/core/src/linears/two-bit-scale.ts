/**
 * The best scale of a row of 2-bit codes. The levels are -1.5, -0.5, 0.5 and 1.5 times the scale, so a value only
 * chooses whether its magnitude is small or large, and the best choice gives the large level to the k largest magnitudes
 * for some k. Sorted once, all k are tried by running sums: the least squared error there is, not a local one.
 */

/** Magnitudes of the levels, in scales. */
const SMALL = 0.5;
const LARGE = 1.5;

/** The code 0 to 3 of a value in scales: value ~ code - 1.5. */
export function twoBitCode(value: number): number {
  return Math.min(3, Math.max(0, Math.floor(value + 2)));
}

/** The scale >= 0 with the least squared error over `row`, before any rounding; 0 for zeros. */
export function bestTwoBitScale(row: Float32Array): number {
  const sorted = row.map(Math.abs).sort();
  let dot = 0;
  for (const magnitude of sorted) dot += SMALL * magnitude;
  let square = sorted.length * SMALL * SMALL;
  // With codes fixed, the best scale is dot / square and lessens the squared error by dot^2 / square.
  let gain = (dot * dot) / square;
  let scale = dot / square;
  for (let i = sorted.length - 1; i >= 0; i--) {
    dot += (LARGE - SMALL) * sorted[i];
    square += LARGE * LARGE - SMALL * SMALL;
    if ((dot * dot) / square > gain) {
      gain = (dot * dot) / square;
      scale = dot / square;
    }
  }
  return scale;
}
