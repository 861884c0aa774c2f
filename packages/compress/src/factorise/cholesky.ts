/** Cholesky factors of small symmetric matrices in double precision. */

/** Added to the diagonal beside its mean where a pivot vanishes, so that a rank-deficient basis stays finite. */
const RELATIVE_SHIFT = 1e-7;

/**
 * T [n, n] upper triangular with T^T G T = I for G [n, n] symmetric positive semidefinite (shifted slightly when it is
 * not definite in single precision): X T has orthonormal columns when G = X^T X ("CholeskyQR").
 */
export function orthonormaliser(gram: ArrayLike<number>, n: number): Float32Array {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += gram[i * n + i];
  const shift = (RELATIVE_SHIFT * trace) / n || 1;
  // L with L L^T = G + shift I, then T = L^-T.
  const lower = lowerFactor(gram, n, shift);
  // Row j of T^T = L^-1 by forward substitution, kept as column j of T.
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const pivot = 1 / lower[i * n + i];
    const row = inverse.subarray(i * n, i * n + n);
    row[i] = pivot;
    for (let k = 0; k < i; k++) {
      const factor = lower[i * n + k] * pivot;
      const above = inverse.subarray(k * n, k * n + k + 1);
      for (let j = 0; j <= k; j++) row[j] -= factor * above[j];
    }
  }
  const result = new Float32Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) result[j * n + i] = inverse[i * n + j]!;
  return result;
}

/**
 * L [n, n] lower triangular with L L^T = G + shift I for G [n, n] symmetric positive semidefinite. Pivots below the shift,
 * which only rounding makes, are raised to it.
 */
export function lowerFactor(gram: ArrayLike<number>, n: number, shift: number): Float64Array {
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = lower.subarray(i * n, i * n + i + 1);
    for (let j = 0; j <= i; j++) {
      const other = lower.subarray(j * n, j * n + j + 1);
      let sum = gram[i * n + j] + (i === j ? shift : 0);
      for (let k = 0; k < j; k++) sum -= row[k] * other[k];
      row[j] = i === j ? Math.sqrt(Math.max(sum, shift)) : sum / other[j];
    }
  }
  return lower;
}
