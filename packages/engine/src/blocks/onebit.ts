/**
 * A OneBit linear as graph nodes: y = LayerNorm(h o S (g o x)), the norm without weights (arXiv 2402.11295, section 3.1).
 * The scales meet the activations, not the signs: (rows + cols) multiplications a token, and no product is spent on
 * the signs where they are not trained.
 */
import { ONEBIT_EPS } from "@subbit/core";
import type { Value } from "../graph/graph.js";
import { matmul, mul, normalise } from "../ops/index.js";
import type { FeedLookup } from "./factored.js";

/** x [tokens, cols] -> [tokens, rows] */
export function oneBit(x: Value, feed: FeedLookup): Value {
  const product = matmul(mul(x, feed("inScales")), feed("fullSigns"), { transB: true });
  return normalise(mul(product, feed("outScales")), ONEBIT_EPS);
}
