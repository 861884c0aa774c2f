/** Reductions other than the plain sum (which lives with broadcasting, its adjoint). */
import { apply, requireDtype, type Op, type Value } from "../graph/graph.js";
import { normalizeAxes } from "../graph/shapes.js";
import {
  reduceAttributes,
  reducedShape,
  reduceSum,
  restoreAxes,
  spread,
  type ReduceAttributes,
  type ReduceOptions,
} from "./broadcast.js";
import { cast, div, equal, mul } from "./elementwise.js";

const reduceMeanOp: Op<ReduceAttributes> = {
  name: "reduceMean",
  infer: ([x], attributes) => {
    requireDtype([x], "f32", "reduceMean");
    return { dtype: "f32", shape: reducedShape(x.shape, attributes) };
  },
  lower: (emitter, [x], output, { axes, keepDims }) => {
    emitter.node("ReduceMean", [x, emitter.ints(axes)], output, {
      keepdims: { int: keepDims ? 1 : 0 },
    });
  },
  vjp: ({ grad, inputs: [x], attributes: { axes } }) => {
    const { shape } = x;
    const count = axes.reduce((product, axis) => product * shape[axis], 1);
    return [spread(mul(grad, 1 / count), shape, axes)];
  },
};

/** Mean over axes (all of them when left out). */
export function reduceMean(x: Value, axes?: readonly number[], options: ReduceOptions = {}): Value {
  return apply(reduceMeanOp, [x], reduceAttributes(x, axes, options, "reduceMean"));
}

const reduceMaxOp: Op<ReduceAttributes> = {
  name: "reduceMax",
  infer: ([x], attributes) => {
    requireDtype([x], "f32", "reduceMax");
    return { dtype: "f32", shape: reducedShape(x.shape, attributes) };
  },
  lower: (emitter, [x], output, { axes, keepDims }) => {
    emitter.node("ReduceMax", [x, emitter.ints(axes)], output, {
      keepdims: { int: keepDims ? 1 : 0 },
    });
  },
  vjp: ({ grad, inputs: [x], output, attributes: { axes } }) => {
    const { shape } = x;
    // Ties share the gradient equally.
    const hit = cast(equal(x, restoreAxes(output, shape, axes)), "f32");
    const share = div(hit, reduceSum(hit, axes, { keepDims: true }));
    return [mul(share, restoreAxes(grad, shape, axes))];
  },
};

/** Maximum over axes (all of them when left out). */
export function reduceMax(x: Value, axes?: readonly number[], options: ReduceOptions = {}): Value {
  return apply(reduceMaxOp, [x], reduceAttributes(x, axes, options, "reduceMax"));
}

const argMaxOp: Op<{ readonly axis: number }> = {
  name: "argMax",
  infer: ([x], { axis }) => ({ dtype: "i64", shape: x.shape.filter((_, at) => at !== axis) }),
  lower: (emitter, inputs, output, { axis }) => {
    emitter.node("ArgMax", inputs, output, { axis: { int: axis }, keepdims: { int: 0 } });
  },
};

/** i64 index of the first maximum along an axis, which is dropped; without a gradient. */
export function argMax(x: Value, axis: number): Value {
  return apply(argMaxOp, [x], { axis: normalizeAxes([axis], x.shape.length, "argMax")[0] });
}
