/**
 * The inverse of a symmetric positive definite matrix, from matrix products alone.
 *
 * Halving by Schur complements down to leaves costs 2/3 r^3 multiplications, a twentieth of what Newton-Schulz needs at
 * full size. A leaf is inverted by Newton-Schulz with the scaling that is optimal for a known interval of the spectrum, which
 * stretches the small eigenvalues by up to 4 a step instead of 2 (the idea of Chen and Chow, 2014, for the sign function).
 * Nothing is carried from call to call, so no history can make it diverge.
 */
import type { Graph } from "@subbit/engine";
import { ops, type Value } from "@subbit/engine";

/** Largest leaf: where the products of one more halving cost more calls than they save multiplications (measured). */
export const LEAF = 72;

/** One step `M <- scale ((1 + a) M - M K M)` as its two factors. */
export interface InverseStep {
  /** scale (1 + a): multiplies the identity. Scalar or [1]. */
  readonly identity: Value;
  /** scale: multiplies K M. Scalar or [1]. */
  readonly product: Value;
}

/** Steps after which an interval of relative width low / high has shrunk to 1 within `tolerance`. */
export function stepsNeeded(low: number, high: number, tolerance = 1e-7): number {
  let a = low / high;
  let steps = 1;
  for (; 1 - a > tolerance && steps < 60; steps++) a = stretch(a);
  return steps;
}

/** [2 * steps]: (identity, product) of every step for a spectrum inside [low, high]. */
export function inverseCoefficients(low: number, high: number, steps: number): Float32Array {
  const coefficients = new Float32Array(2 * steps);
  let a = low / high;
  for (let step = 0; step < steps; step++) {
    // The first step starts from I / high, which needs no product: M = scale ((1 + a) I - K / high) / high.
    const scale = 4 / (1 + a) ** 2;
    coefficients[2 * step] = step === 0 ? (scale * (1 + a)) / high : scale * (1 + a);
    coefficients[2 * step + 1] = step === 0 ? scale / high ** 2 : scale;
    a = stretch(a);
  }
  return coefficients;
}

/** x -> 4 x (1 + a - x) / (1 + a)^2 maps [a, 1] onto [this, 1]. */
function stretch(a: number): number {
  return Math.min(1, (4 * a) / (1 + a) ** 2);
}

/** Identity matrices of a graph, each made once. */
export class Identities {
  readonly #graph: Graph;
  readonly #made = new Map<number, Value>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** [size, size] */
  of(size: number): Value {
    let value = this.#made.get(size);
    if (!value) {
      const data = new Float32Array(size * size);
      for (let i = 0; i < size; i++) data[i * size + i] = 1;
      value = this.#graph.constant(data, [size, size]);
      this.#made.set(size, value);
    }
    return value;
  }
}

/**
 * K^-1 for K [r, r], symmetric positive definite. `steps` must fit an interval that holds the spectrum of every leading
 * block of at most LEAF rows; the spectra of K's Schur complements lie inside K's own.
 *
 * Errors grow with the square of the condition number, since every level takes the difference of what the one below it
 * made; `careful` follows every level by a Newton step, which brings them back to the first power for five times the work.
 */
export function invert(
  k: Value,
  steps: readonly InverseStep[],
  identities: Identities,
  { careful = false }: { readonly careful?: boolean } = {},
): Value {
  // Leaves of one size share their scaled identities.
  const scaled = new Map<number, Value[]>();
  const starts = (size: number): readonly Value[] => {
    const known = scaled.get(size) ?? steps.map(({ identity }) => ops.mul(identities.of(size), identity));
    scaled.set(size, known);
    return known;
  };
  const leaf = (block: Value): Value => {
    const identity = starts(block.shape[0]);
    let inverse: Value | undefined;
    steps.forEach(({ product }, step) => {
      const applied = ops.mul(inverse ? ops.matmul(block, inverse) : block, product);
      const factor = ops.sub(identity[step], applied);
      inverse = inverse ? ops.matmul(inverse, factor) : factor;
    });
    return inverse as Value;
  };
  const polished = (block: Value, inverse: Value): Value =>
    careful ? ops.sub(ops.mul(inverse, 2), ops.matmul(ops.matmul(inverse, block), inverse)) : inverse;
  const recurse = (block: Value): Value => {
    const size = block.shape[0];
    if (size <= LEAF) return polished(block, leaf(block));
    const half = size >> 1;
    const top = ops.slice(block, 0, 0, half);
    const corner = ops.slice(top, 1, half);
    const bottom = ops.slice(ops.slice(block, 0, half), 1, half);
    const first = recurse(ops.slice(top, 1, 0, half));
    const carried = ops.matmul(first, corner);
    const second = recurse(ops.sub(bottom, ops.matmul(corner, carried, { transA: true })));
    const cross = ops.matmul(carried, second);
    const upper = ops.add(first, ops.matmul(cross, carried, { transB: true }));
    const right = ops.neg(cross);
    const lower = ops.concat([ops.transpose(right), second], 1);
    return polished(block, ops.concat([ops.concat([upper, right], 1), lower], 0));
  };
  return recurse(k);
}
