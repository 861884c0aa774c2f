/** The sign with a straight-through gradient. */
import type { Value } from "../graph/graph.js";
import { abs, cast, less, mul, square, sub, tanh, where } from "./elementwise.js";
import { fused } from "./fused.js";

/**
 * What stands in for the derivative of the sign:
 * - `smooth`: k (1 - tanh^2(k x)), LittleBit's SmoothSign with k = 100
 * - `clipped`: 1 for |x| < 1, else 0
 */
export type Surrogate =
  { readonly kind: "smooth"; readonly sharpness: number } | { readonly kind: "clipped" };

/** -1 for x < 0, else +1 (so sgn(0) = +1), with the surrogate's gradient. */
export function signSte(x: Value, surrogate: Surrogate): Value {
  const signs = where(less(x, 0), -1, 1);
  return fused("signSte", [x], signs, ({ grad }) => {
    if (surrogate.kind === "clipped") return [mul(grad, cast(less(abs(x), 1), "f32"))];
    const { sharpness } = surrogate;
    return [mul(grad, mul(sub(1, square(tanh(mul(x, sharpness)))), sharpness))];
  });
}
