/**
 * What an error of a linear costs: to second order, with tokens and weights taken as independent, the loss of a token
 * rises by 1/2 sum_ij o_i i_j E_ij^2, where i = E[x^2] of the inputs, o = E[(dL/dy)^2] of the outputs (L the summed
 * loss, so that a token's gradient is its own) and E the error of the weight. The Fisher diagonal of pruning and
 * quantisation work (LeCun's Optimal Brain Damage), in units of nats a token and so comparable across linears.
 */

/** Half of the weighted sum of squares of weight [rows, cols]: the estimate at relative error 1, nats a token. */
export function sensitivity(
  weight: Float32Array,
  moments: { readonly inputSquares: Float32Array; readonly outputGradSquares: Float32Array },
): number {
  const { inputSquares, outputGradSquares } = moments;
  const cols = inputSquares.length;
  let total = 0;
  outputGradSquares.forEach((output, row) => {
    let inRow = 0;
    for (let col = 0; col < cols; col++) inRow += inputSquares[col] * weight[row * cols + col] ** 2;
    total += output * inRow;
  });
  return total / 2;
}

/**
 * Exponent on the sensitivities, between 0 (all linears alike: equal bits) and 1 (the estimate as it stands). Errors
 * below one bit are far too large for a second-order estimate, and what trains afterwards repairs much of them where
 * they are worst: half way in the logarithm.
 */
export const LOSS_DAMPING = 0.5;

export interface Weighed {
  /** rows * cols */
  readonly weights: number;
  readonly sensitivity: number;
}

/**
 * Factors of the squared relative errors in what is minimised, one a linear: its weights times its damped sensitivity a
 * weight. Without any gradient anywhere all linears are alike.
 */
export function dampedFactors(linears: readonly Weighed[], damping: number = LOSS_DAMPING): number[] {
  const weights = linears.reduce((sum, linear) => sum + linear.weights, 0);
  const mean = linears.reduce((sum, linear) => sum + linear.sensitivity, 0) / weights;
  if (!(mean > 0)) return linears.map((linear) => linear.weights);
  return linears.map(
    (linear) => linear.weights * mean * (linear.sensitivity / linear.weights / mean) ** damping,
  );
}
