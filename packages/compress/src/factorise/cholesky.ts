/** Cholesky factors of symmetric matrices in double precision. */

/**
 * What is left of a column of unit length when those before it are taken out, squared, below which it is rounding: Gram
 * matrices come in single precision.
 */
const NEGLIGIBLE_PIVOT = 1e-6;

/**
 * T [n, n] upper triangular with T^T G T = I for G = X^T X [n, n]: X T has orthonormal columns ("CholeskyQR"). A column
 * that depends on those before it becomes zero: dividing by what rounding leaves of it would let the rounding grow.
 */
export function orthonormaliser(gram: ArrayLike<number>, n: number): Float32Array {
  // In units of each column's own length, so that graded columns lose nothing.
  const unit = Float64Array.from({ length: n }, (_, i) => {
    const square = gram[i * n + i];
    return square > 0 ? 1 / Math.sqrt(square) : 0;
  });
  const scaled = Float64Array.from(gram, (value, at) => value * unit[Math.floor(at / n)] * unit[at % n]);
  const lower = factorOf(scaled, n, (pivot) => (pivot > NEGLIGIBLE_PIVOT ? Math.sqrt(pivot) : 0));
  // Row j of T^T = L^-1 by forward substitution, kept as column j of T.
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const diagonal = lower[i * n + i];
    if (diagonal === 0) continue;
    const pivot = 1 / diagonal;
    const row = inverse.subarray(i * n, i * n + n);
    row[i] = pivot;
    for (let k = 0; k < i; k++) {
      const factor = lower[i * n + k] * pivot;
      const above = inverse.subarray(k * n, k * n + k + 1);
      for (let j = 0; j <= k; j++) row[j] -= factor * above[j];
    }
  }
  const result = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) result[j * n + i] = inverse[i * n + j] * unit[j];
  }
  return result;
}

/** `diagonal` turns a pivot into the diagonal entry of L; where it gives 0 the column is left out. */
function factorOf(gram: ArrayLike<number>, n: number, diagonal: (pivot: number) => number): Float64Array {
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = lower.subarray(i * n, i * n + i + 1);
    for (let j = 0; j <= i; j++) {
      const other = lower.subarray(j * n, j * n + j + 1);
      let sum = gram[i * n + j];
      for (let k = 0; k < j; k++) sum -= row[k] * other[k];
      if (i === j) row[j] = diagonal(sum);
      else row[j] = other[j] === 0 ? 0 : sum / other[j];
    }
  }
  return lower;
}
