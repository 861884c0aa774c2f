/**
 * A factored linear as graph nodes: y = [S_out o (A Q^T)] [S_in o (G B^T)] x, summed over paths. The dense weight is
 * never built; with rank r the products cost r (rows + cols) per token instead of rows * cols.
 *
 * The scales can be applied in two places. On the factors: r (rows + cols) multiplications whatever the number of
 * tokens, and the gradient of the signs needs the products that give the scales' gradients anyway. On the
 * activations: (cols + r + rows) multiplications per token, which wins when the scales are trained and the signs are
 * not, since no product is then spent on the gradient of a factor. With envelopes of rank l the activations would take
 * l products a factor forward and l backward, against one, one and one for the factor's gradient: there the factors win
 * from l = 2 on. Gradients go only where they are asked for: scales that train alone cost none of the signs' own.
 */
import type { Value } from "../graph/graph.js";
import { add, concat, matmul, mul, reduceSum, reshape, transpose } from "../ops/index.js";
import type { LinearForm } from "./forms.js";

export type FactoredForm = Extract<LinearForm, { kind: "factored" }>;

/** Looks a feed up by what follows `<role>.`. */
export type FeedLookup = (suffix: string) => Value;

/** x [tokens, cols] -> [tokens, rows], scales folded into the factors; paths are joined along the rank. */
export function factoredByFactors(x: Value, form: FactoredForm, feed: FeedLookup): Value {
  const paths = form.ranks.map((_, path) => (name: string) => feed(`paths.${path}.${name}`));
  const inner = concat(
    paths.map((at) => mul(at("inSigns"), inEnvelope(form, at))),
    0,
  );
  const outer = concat(
    paths.map((at) => mul(at("outSigns"), outEnvelope(form, at))),
    1,
  );
  return matmul(matmul(x, inner, { transB: true }), outer, { transB: true });
}

/** The same for envelopes of rank 1, scales applied to the activations. */
export function factoredByActivations(x: Value, form: FactoredForm, feed: FeedLookup): Value {
  const parts = form.ranks.map((_, path) => {
    const at = (name: string): Value => feed(`paths.${path}.${name}`);
    const inner = matmul(mul(x, at("inScales")), at("inSigns"), { transB: true });
    const middle = form.mid ? mul(inner, at("midScales")) : inner;
    return mul(matmul(middle, at("outSigns"), { transB: true }), at("outScales"));
  });
  return parts.reduce((sum, part) => add(sum, part));
}

/** G B^T, [rank, cols] or something that broadcasts to it. */
function inEnvelope({ mid, envelope = 1 }: FactoredForm, at: FeedLookup): Value {
  const scales = at("inScales");
  if (!mid) return envelope === 1 ? scales : reduceSum(scales, [0], { keepDims: true });
  const middle = at("midScales");
  return envelope === 1 ? mul(reshape(middle, [-1, 1]), scales) : matmul(middle, scales, { transA: true });
}

/** A Q^T, [rows, rank] or something that broadcasts to it. */
function outEnvelope({ mid, envelope = 1 }: FactoredForm, at: FeedLookup): Value {
  const scales = at("outScales");
  if (envelope === 1) return reshape(scales, [-1, 1]);
  if (!mid) return transpose(reduceSum(scales, [0], { keepDims: true }));
  return matmul(scales, at("midOutScales"), { transA: true });
}
