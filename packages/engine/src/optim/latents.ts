/** Sign factors as latents on the host: their signs before a step's programs, the surrogate once after them. */
import { ONEBIT_SLOPE, type Surrogate } from "../ops/signs.js";

/** Writes -1 or +1 (for zero too) into `out`. */
export function signs(latents: Float32Array, out: Float32Array): Float32Array {
  for (let i = 0; i < latents.length; i++) out[i] = latents[i] < 0 ? -1 : 1;
  return out;
}

/**
 * Turns the gradient of the signs into that of the latents, in place, by the surrogate's derivative (see `signSte`).
 * It is elementwise and the same for every micro-batch of a step, hence applied once to their sum.
 */
export function multiplySurrogate(
  grad: Float32Array,
  latents: Float32Array,
  surrogate: Surrogate,
): Float32Array {
  if (surrogate.kind === "clipped") {
    for (let i = 0; i < grad.length; i++) if (!(Math.abs(latents[i]) < 1)) grad[i] = 0;
    return grad;
  }
  const [width, added] = surrogate.kind === "onebit" ? [1, ONEBIT_SLOPE] : [surrogate.width, 0];
  for (let i = 0; i < grad.length; i++) {
    // 1 - tanh^2(z) = 4 e / (1 + e)^2 with e = exp(-2 |z|): one exponential, no cancellation.
    const e = Math.exp(-2 * Math.abs(width * latents[i]));
    grad[i] = grad[i] * width * ((4 * e) / ((1 + e) * (1 + e)) + added);
  }
  return grad;
}

/** sum += part, for gradients of several micro-batches. */
export function accumulate(sum: Float32Array, part: Float32Array): Float32Array {
  for (let i = 0; i < sum.length; i++) sum[i] = sum[i] + part[i];
  return sum;
}
