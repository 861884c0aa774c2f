/** The sign with a straight-through gradient. */
import type { Value } from "../graph/graph.js";
import { abs, cast, less, mul, square, sub, tanh, where } from "./elementwise.js";
import { fused } from "./fused.js";

/**
 * What stands in for the derivative of the sign:
 * - `tanh`: k (1 - tanh^2(k x)) with the width k; LittleBit's SmoothSign has k = 100
 * - `clipped`: 1 for |x| < 1, else 0
 * - `onebit`: 1.001 - tanh^2(x), which never vanishes (OneBit's code)
 */
export type Surrogate =
  | { readonly kind: "tanh"; readonly width: number }
  | { readonly kind: "clipped" }
  | { readonly kind: "onebit" };

/** What OneBit's surrogate adds to 1 - tanh^2(x). */
export const ONEBIT_SLOPE = 0.001;

/** -1 for x < 0, else +1 (so sgn(0) = +1), with the surrogate's gradient. */
export function signSte(x: Value, surrogate: Surrogate): Value {
  const signs = where(less(x, 0), -1, 1);
  return fused("signSte", [x], signs, ({ grad }) => [mul(grad, surrogateSlope(x, surrogate))]);
}

/** The surrogate's derivative at x. */
export function surrogateSlope(x: Value, surrogate: Surrogate): Value {
  if (surrogate.kind === "clipped") return cast(less(abs(x), 1), "f32");
  if (surrogate.kind === "onebit") return sub(1 + ONEBIT_SLOPE, square(tanh(x)));
  const { width } = surrogate;
  const slope = sub(1, square(tanh(width === 1 ? x : mul(x, width))));
  return width === 1 ? slope : mul(slope, width);
}
