/** Conjugate gradients with Jacobi preconditioning (Hestenes and Stiefel, 1952), in double precision. */

/**
 * x with K x = b for K [n, n] symmetric positive semidefinite, from a start; ends at a relative residual of `tolerance`
 * or after n steps. A zero diagonal entry leaves its unknown where it started.
 */
export function conjugateGradients(
  matrix: Float32Array,
  right: Float32Array,
  start: Float32Array,
  tolerance: number,
): Float32Array {
  const n = right.length;
  const multiply = (x: Float64Array): Float64Array => {
    const y = new Float64Array(n);
    for (let row = 0; row < n; row++) {
      let sum = 0;
      for (let col = 0; col < n; col++) sum += matrix[row * n + col] * x[col];
      y[row] = sum;
    }
    return y;
  };
  const inverseDiagonal = Float64Array.from({ length: n }, (_, i) => {
    const entry = matrix[i * n + i];
    return entry > 0 ? 1 / entry : 0;
  });
  const x = Float64Array.from(start);
  const applied = multiply(x);
  const residual = Float64Array.from(right, (value, i) => value - applied[i]);
  let scaled = residual.map((value, i) => value * inverseDiagonal[i]);
  let direction = scaled.slice();
  let energy = dot(residual, scaled);
  const enough = tolerance * Math.sqrt(dot(Float64Array.from(right), Float64Array.from(right)));
  for (let step = 0; step < n && energy > 0 && Math.sqrt(dot(residual, residual)) > enough; step++) {
    const image = multiply(direction);
    const curvature = dot(direction, image);
    if (!(curvature > 0)) break;
    const length = energy / curvature;
    for (let i = 0; i < n; i++) {
      x[i] += length * direction[i];
      residual[i] -= length * image[i];
    }
    scaled = residual.map((value, i) => value * inverseDiagonal[i]);
    const next = dot(residual, scaled);
    direction = scaled.map((value, i) => value + (next / energy) * direction[i]);
    energy = next;
  }
  return Float32Array.from(x);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
