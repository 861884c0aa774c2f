/** Broadcasting and its adjoint, summation; the two need one another for their gradients and so share a file. */
import { apply, requireDtype, type Op, type Value } from "../graph/graph.js";
import {
  broadcastShapes,
  graphError,
  normalizeAxes,
  sameShape,
  showShape,
  sizeOf,
  type Shape,
} from "../graph/shapes.js";

const reshapeOp: Op<Shape> = {
  name: "reshape",
  infer: ([x], shape) => {
    if (sizeOf(x.shape) !== sizeOf(shape)) {
      throw graphError(
        `reshape: ${showShape(x.shape)} does not hold as many elements as ${showShape(shape)}.`,
      );
    }
    return { dtype: x.dtype, shape };
  },
  lower: (emitter, [x], output, shape) => {
    emitter.node("Reshape", [x, emitter.ints(shape)], output);
  },
  vjp: ({ grad, inputs: [x] }) => [reshape(grad, x.shape)],
};

/** The same elements in another shape; at most one extent may be -1 (worked out). */
export function reshape(x: Value, shape: Shape): Value {
  const known = sizeOf(shape.filter((extent) => extent !== -1));
  const full = shape.map((extent) => (extent === -1 ? sizeOf(x.shape) / known : extent));
  return sameShape(x.shape, full) ? x : apply(reshapeOp, [x], full);
}

const expandOp: Op<Shape> = {
  name: "expand",
  infer: ([x], shape) => {
    if (!sameShape(broadcastShapes(x.shape, shape, "expand"), shape)) {
      throw graphError(`expand: ${showShape(x.shape)} does not broadcast to ${showShape(shape)}.`);
    }
    return { dtype: x.dtype, shape };
  },
  lower: (emitter, [x], output, shape) => {
    emitter.node("Expand", [x, emitter.ints(shape)], output);
  },
  vjp: ({ grad, inputs: [x] }) => [unbroadcast(grad, x.shape)],
};

/** Broadcasts to a shape (copies; the elementwise ops broadcast by themselves). */
export function expand(x: Value, shape: Shape): Value {
  return sameShape(x.shape, shape) ? x : apply(expandOp, [x], shape);
}

export interface ReduceOptions {
  /** Keep the reduced axes with extent 1. @default false */
  readonly keepDims?: boolean;
}

export interface ReduceAttributes {
  /** Positive, ascending. */
  readonly axes: readonly number[];
  readonly keepDims: boolean;
}

const reduceSumOp: Op<ReduceAttributes> = {
  name: "reduceSum",
  infer: ([x], attributes) => {
    requireDtype([x], "f32", "reduceSum");
    return { dtype: "f32", shape: reducedShape(x.shape, attributes) };
  },
  lower: (emitter, [x], output, { axes, keepDims }) => {
    emitter.node("ReduceSum", [x, emitter.ints(axes)], output, {
      keepdims: { int: keepDims ? 1 : 0 },
    });
  },
  vjp: ({ grad, inputs: [x], attributes: { axes } }) => [spread(grad, x.shape, axes)],
};

/** Sum over axes (all of them when left out). */
export function reduceSum(x: Value, axes?: readonly number[], options: ReduceOptions = {}): Value {
  return apply(reduceSumOp, [x], reduceAttributes(x, axes, options, "reduceSum"));
}

export function reduceAttributes(
  x: Value,
  axes: readonly number[] | undefined,
  options: ReduceOptions,
  what: string,
): ReduceAttributes {
  const list = axes ?? x.shape.map((_, axis) => axis);
  return { axes: normalizeAxes(list, x.shape.length, what), keepDims: options.keepDims ?? false };
}

export function reducedShape(shape: Shape, { axes, keepDims }: ReduceAttributes): number[] {
  return keepDims
    ? shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent))
    : shape.filter((_, axis) => !axes.includes(axis));
}

/** Puts reduced axes back with extent 1. */
export function restoreAxes(reduced: Value, shape: Shape, axes: readonly number[]): Value {
  return reshape(reduced, reducedShape(shape, { axes, keepDims: true }));
}

/** Broadcasts a reduced value back over the axes it was reduced over. */
export function spread(reduced: Value, shape: Shape, axes: readonly number[]): Value {
  return expand(restoreAxes(reduced, shape, axes), shape);
}

/** Sums `grad` down to `shape`, from which its own shape was broadcast. */
export function unbroadcast(grad: Value, shape: Shape): Value {
  if (sameShape(grad.shape, shape)) return grad;
  const extra = grad.shape.length - shape.length;
  const axes: number[] = [];
  grad.shape.forEach((extent, axis) => {
    if (axis < extra || (shape[axis - extra] === 1 && extent !== 1)) axes.push(axis);
  });
  return reshape(axes.length > 0 ? reduceSum(grad, axes, { keepDims: true }) : grad, shape);
}
