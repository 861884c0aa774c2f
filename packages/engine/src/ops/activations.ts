/** Activations of transformer MLPs. */
import type { Value } from "../graph/graph.js";
import { add, erf, exp, mul, neg, sigmoid, square, sub, tanh } from "./elementwise.js";
import { fused } from "./fused.js";

/** x sigmoid(x) */
export function silu(x: Value): Value {
  return fused("silu", [x], mul(x, sigmoid(x)), ({ grad, output }) => {
    const gate = sigmoid(x);
    return [mul(grad, add(gate, mul(output, sub(1, gate))))];
  });
}

/** x Phi(x), with the exact normal distribution function. */
export function gelu(x: Value): Value {
  const phi = (): Value => mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);
  return fused("gelu", [x], mul(x, phi()), ({ grad }) => {
    const density = mul(exp(mul(neg(square(x)), 0.5)), 1 / Math.sqrt(2 * Math.PI));
    return [mul(grad, add(phi(), mul(x, density)))];
  });
}

/** The tanh approximation of GELU (Hendrycks and Gimpel, 2016). */
export function geluTanh(x: Value): Value {
  const cubic = mul(x, add(mul(square(x), 0.044715), 1));
  return mul(mul(x, 0.5), add(tanh(mul(cubic, Math.sqrt(2 / Math.PI))), 1));
}
