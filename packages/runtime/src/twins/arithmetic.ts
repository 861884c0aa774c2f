/**
 * float32 arithmetic in the order of the kernels, one lane at a time. Twins built on it give the kernels' results to the last
 * bit: then a test can ask for equality, and both backends choose the same tokens where rounding would tip the balance.
 */

const f = Math.fround;

const double = new Float64Array(1);
const halves = new Uint32Array(double.buffer);

/** f(a * b + c), rounded once: the product is exact in double precision, the sum nearly. */
function fusedMadd(a: number, b: number, c: number): number {
  const product = a * b;
  const sum = product + c;
  double[0] = sum;
  if ((halves[0] & 0x1fffffff) !== 0x10000000) return f(sum);
  // Halfway between two float32: what the sum of doubles lost decides.
  const added = sum - product;
  const lost = product - (sum - added) + (c - added);
  if (lost !== 0) halves[0] += lost > 0 === sum > 0 ? 1 : -1;
  return f(double[0]);
}

/** a * b + c. With relaxed SIMD the product is not rounded; without it, it is. */
export function madd(fused: boolean, a: number, b: number, c: number): number {
  return fused ? fusedMadd(a, b, c) : f(f(a * b) + c);
}

/** Sum of the four lanes of a vector, as `sum` and `sums` of assembly/simd.ts add them. */
export function sumLanes(a: number, b: number, c: number, d: number): number {
  return f(f(a + c) + f(b + d));
}

/** Product of `count` floats (a multiple of 4) by four lanes of multiply-adds. */
export function dot(
  fused: boolean,
  x: Float32Array,
  xAt: number,
  y: Float32Array,
  yAt: number,
  count: number,
): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  if (fused) {
    for (let i = 0; i < count; i += 4) {
      a = fusedMadd(x[xAt + i], y[yAt + i], a);
      b = fusedMadd(x[xAt + i + 1], y[yAt + i + 1], b);
      c = fusedMadd(x[xAt + i + 2], y[yAt + i + 2], c);
      d = fusedMadd(x[xAt + i + 3], y[yAt + i + 3], d);
    }
  } else {
    for (let i = 0; i < count; i += 4) {
      a = f(f(x[xAt + i] * y[yAt + i]) + a);
      b = f(f(x[xAt + i + 1] * y[yAt + i + 1]) + b);
      c = f(f(x[xAt + i + 2] * y[yAt + i + 2]) + c);
      d = f(f(x[xAt + i + 3] * y[yAt + i + 3]) + d);
    }
  }
  return sumLanes(a, b, c, d);
}

/** 1.5 * 2^23: added to a float, it leaves the nearest integer in the low mantissa bits. */
const MAGIC = 12582912;

/** Nearest integer, ties to even, as `nearest` of assembly/simd.ts; |x| below 2^22. */
export function nearest(x: number): number {
  return f(x + MAGIC) - MAGIC;
}

const LOG2_E = f(1.44269504);
/** ln 2 in two parts: the first has few bits, so that its multiples are exact. */
const LN2_HIGH = 0.693359375;
const LN2_LOW = f(-2.1219444e-4);
/** Of (e^r - 1 - r) / r^2, highest power first; minimax on |r| <= ln(2) / 2. */
const EXP_POLYNOMIAL = [1.9875691e-4, 1.3981999e-3, 8.333452e-3, 4.1665796e-2, 1.6666666e-1, 0.5].map(f);

/** e^x as `exp4` of assembly/simd.ts computes it. */
export function exp(value: number): number {
  const x = Math.max(Math.min(value, 88), -87);
  const n = nearest(f(x * LOG2_E));
  const r = f(f(x - f(n * LN2_HIGH)) - f(n * LN2_LOW));
  let p = EXP_POLYNOMIAL[0];
  for (let i = 1; i < EXP_POLYNOMIAL.length; i++) p = f(f(p * r) + EXP_POLYNOMIAL[i]);
  p = f(f(f(p * f(r * r)) + r) + 1);
  return f(p * 2 ** n);
}

/** Of 2^r - 1, highest power first; |r| <= 1/2. */
const POWER_POLYNOMIAL = [1.3264727e-3, 9.671513e-3, 5.5507336e-2, 2.4022242e-1, 6.93147e-1, 1].map(f);

/** 2^x for x <= 0 as `powerOfTwo` of assembly/simd.ts computes it. */
export function powerOfTwo(fused: boolean, value: number): number {
  const x = Math.max(value, -125);
  const n = f(f(x + MAGIC) - MAGIC);
  const r = f(x - n);
  let p = POWER_POLYNOMIAL[0];
  for (let i = 1; i < POWER_POLYNOMIAL.length; i++) p = madd(fused, p, r, POWER_POLYNOMIAL[i]);
  return f(p * 2 ** n);
}
