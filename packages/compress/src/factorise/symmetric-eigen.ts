/**
 * Eigen-decomposition of a small real symmetric matrix in double precision: Householder reduction to tridiagonal form,
 * then QL with implicit shifts (Golub and Van Loan, "Matrix Computations", sections 8.3.1 and 8.3.3).
 */
import { SubbitError } from "@subbit/core";

export interface SymmetricEigen {
  /** [n], descending. */
  readonly values: Float64Array;
  /** [n, n]; row i is the unit eigenvector of value i. */
  readonly vectors: Float64Array;
}

/** QL finds an eigenvalue in two or three sweeps; thirty mean that the input is not finite. */
const MAX_SWEEPS = 30;

/** Decomposes matrix [n, n]; only its lower triangle is read. */
export function symmetricEigen(matrix: ArrayLike<number>, n: number): SymmetricEigen {
  const { diagonal, offDiagonal, rows } = tridiagonalise(matrix, n);
  diagonalise(diagonal, offDiagonal, rows, n);
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => diagonal[b] - diagonal[a]);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => vectors.set(rows.subarray(from * n, (from + 1) * n), to * n));
  return { values: Float64Array.from(order, (i) => diagonal[i]), vectors };
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** [n]; entry i couples i and i + 1, the last one is 0. */
  readonly offDiagonal: Float64Array;
  /** Q^T [n, n] of A = Q T Q^T, so that the rotations to come act on whole rows. */
  readonly rows: Float64Array;
}

function tridiagonalise(matrix: ArrayLike<number>, n: number): Tridiagonal {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = matrix[i * n + j];
  }
  const offDiagonal = new Float64Array(n);
  const reflectors: { v: Float64Array; beta: number }[] = [];
  for (let k = 0; k < n - 1; k++) {
    const v = new Float64Array(n);
    let norm = 0;
    for (let i = k + 1; i < n; i++) {
      v[i] = a[i * n + k]!;
      norm += v[i] ** 2;
    }
    norm = Math.sqrt(norm);
    const sign = v[k + 1] < 0 ? -1 : 1;
    offDiagonal[k] = -sign * norm;
    v[k + 1] += sign * norm;
    // |v|^2 = 2 norm (norm + |x_1|)
    const beta = norm > 0 ? 1 / (norm * Math.abs(v[k + 1])) : 0;
    reflectors.push({ v, beta });
    if (beta === 0) continue;
    const w = new Float64Array(n);
    let overlap = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i * n + j] * v[j];
      w[i] = beta * sum;
      overlap += w[i] * v[i];
    }
    for (let i = k + 1; i < n; i++) w[i] -= 0.5 * beta * overlap * v[i];
    for (let i = k + 1; i < n; i++) {
      const vi = v[i];
      const wi = w[i];
      for (let j = k + 1; j < n; j++) a[i * n + j] -= vi * w[j] + wi * v[j];
    }
  }
  const rows = new Float64Array(n * n);
  for (let i = 0; i < n; i++) rows[i * n + i] = 1;
  // Q = H_0 H_1 ... ; the transpose is built row by row from the right, where the reflectors are short.
  for (let k = n - 2; k >= 0; k--) {
    const { v, beta } = reflectors[k];
    if (beta === 0) continue;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += rows[i * n + j] * v[j];
      sum *= beta;
      for (let j = k + 1; j < n; j++) rows[i * n + j] -= sum * v[j];
    }
  }
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i]), offDiagonal, rows };
}

function diagonalise(d: Float64Array, e: Float64Array, rows: Float64Array, n: number): void {
  for (let low = 0; low < n; low++) {
    for (let sweep = 0; ; sweep++) {
      let high = low;
      while (high < n - 1 && Math.abs(e[high]) > Number.EPSILON * (Math.abs(d[high]) + Math.abs(d[high + 1])))
        high++;
      if (high === low) break;
      if (sweep === MAX_SWEEPS) {
        throw new SubbitError("internal", "An eigenvalue did not converge; the matrix is not finite.");
      }
      sweepQl(d, e, rows, n, low, high);
    }
  }
}

/** One implicit QL sweep with Wilkinson's shift on the unreduced block low..high. */
function sweepQl(
  d: Float64Array,
  e: Float64Array,
  rows: Float64Array,
  n: number,
  low: number,
  high: number,
): void {
  const slope = (d[low + 1] - d[low]) / (2 * e[low]);
  const root = Math.hypot(slope, 1);
  let g = d[high] - d[low] + e[low] / (slope + (slope < 0 ? -root : root));
  let s = 1;
  let c = 1;
  let p = 0;
  for (let i = high - 1; i >= low; i--) {
    const f = s * e[i];
    const b = c * e[i];
    const r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] -= p;
      e[high] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    const t = (d[i] - g) * s + 2 * c * b;
    p = s * t;
    d[i + 1] = g + p;
    g = c * t - b;
    rotate(rows, n, i, c, s);
  }
  d[low] -= p;
  e[low] = g;
  e[high] = 0;
}

function rotate(rows: Float64Array, n: number, i: number, c: number, s: number): void {
  const at = i * n;
  for (let k = at; k < at + n; k++) {
    const upper = rows[k];
    const lower = rows[k + n];
    rows[k + n] = s * upper + c * lower;
    rows[k] = c * upper - s * lower;
  }
}
