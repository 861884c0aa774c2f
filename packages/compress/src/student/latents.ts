/**
 * Latents at unit mean magnitude. The sign of a latent says everything about the packed weight; its magnitude only says
 * how easily training may flip it, and a surrogate of fixed width needs those magnitudes to be comparable everywhere.
 */

/** Rounds of alternating row and column scaling; the means meet quickly because latents are nearly rank-1 in size. */
const ROUNDS = 4;
/** A row whose mean magnitude is below this share of the whole matrix's is left alone: it is dead. */
const SMALLEST_SHARE = 1e-12;

/** Rescales rows and columns of [rows, cols] by positive factors until the mean magnitude of each is 1; in place. */
export function normaliseLatents(latents: Float32Array, rows: number, cols: number): void {
  const total = meanMagnitude(latents);
  if (!(total > 0)) {
    latents.fill(1);
    return;
  }
  for (let i = 0; i < latents.length; i++) latents[i] /= total;
  const rowSums = new Float64Array(rows);
  const colSums = new Float64Array(cols);
  for (let round = 0; round < ROUNDS; round++) {
    colSums.fill(0);
    for (let row = 0; row < rows; row++) {
      const at = row * cols;
      for (let col = 0; col < cols; col++) colSums[col] += Math.abs(latents[at + col]);
    }
    for (let col = 0; col < cols; col++) colSums[col] = inverseMean(colSums[col], rows);
    for (let row = 0; row < rows; row++) {
      const at = row * cols;
      let sum = 0;
      for (let col = 0; col < cols; col++) sum += Math.abs((latents[at + col] *= colSums[col]));
      rowSums[row] = inverseMean(sum, cols);
      for (let col = 0; col < cols; col++) latents[at + col] *= rowSums[row];
    }
  }
}

function inverseMean(sum: number, count: number): number {
  const mean = sum / count;
  return mean > SMALLEST_SHARE ? 1 / mean : 1;
}

/** Mean of |x|. */
export function meanMagnitude(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += Math.abs(value);
  return values.length === 0 ? 0 : sum / values.length;
}
