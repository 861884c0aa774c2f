/** Normalisations over the last axis, with closed-form gradients. */
import type { Value } from "../graph/graph.js";
import { unbroadcast } from "./broadcast.js";
import { add, mul, rsqrt, square, sub } from "./elementwise.js";
import { fused } from "./fused.js";
import { reduceMean } from "./reduce.js";

/** x / sqrt(mean(x^2) + eps) * weight; x [..., features], weight [features]. */
export function rmsNorm(x: Value, weight: Value, eps: number): Value {
  const inverse = rsqrt(add(rowMean(square(x)), eps));
  const normalized = mul(x, inverse);
  return fused("rmsNorm", [x, weight], mul(normalized, weight), ({ grad, needs }) => [
    needs[0] ? backThroughScale(mul(grad, weight), normalized, inverse) : undefined,
    needs[1] ? unbroadcast(mul(grad, normalized), weight.shape) : undefined,
  ]);
}

/** (x - mean) / sqrt(variance + eps) * weight + bias; x [..., features], weight and bias [features]. */
export function layerNorm(x: Value, weight: Value, bias: Value, eps: number): Value {
  return add(mul(normalise(x, eps), weight), bias);
}

/** (x - mean) / sqrt(variance + eps), a layer norm without weights; x [..., features]. */
export function normalise(x: Value, eps: number): Value {
  const centred = sub(x, rowMean(x));
  const inverse = rsqrt(add(rowMean(square(centred)), eps));
  const normalized = mul(centred, inverse);
  return fused("normalise", [x], normalized, ({ grad }) => [
    backThroughScale(sub(grad, rowMean(grad)), normalized, inverse),
  ]);
}

/** The gradient of n = x inverse, where inverse = 1 / sqrt(mean(x^2) + eps): inverse (g - n mean(g n)). */
function backThroughScale(grad: Value, normalized: Value, inverse: Value): Value {
  return mul(inverse, sub(grad, mul(normalized, rowMean(mul(grad, normalized)))));
}

function rowMean(x: Value): Value {
  return reduceMean(x, [-1], { keepDims: true });
}
