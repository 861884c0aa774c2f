/** Elementwise ops with NumPy broadcasting. A plain number stands for a scalar constant. */
import { apply, innermostGraph, requireDtype, type Op, type Value } from "../graph/graph.js";
import { broadcastShapes, graphError } from "../graph/shapes.js";
import type { DType } from "../graph/types.js";
import { ELEMENT_TYPE, type Emitter } from "../lowering/emitter.js";
import { unbroadcast } from "./broadcast.js";

/** A value, or a number that becomes a scalar constant. */
export type Operand = Value | number;

/** d(output)/d(input) times grad, from the input and the output. */
type UnaryGradient = (grad: Value, input: Value, output: Value) => Value;

function unary(
  name: string,
  lower: string | ((emitter: Emitter, input: string, output: string) => void),
  gradient?: UnaryGradient,
): (x: Value) => Value {
  const op: Op<null> = {
    name,
    infer: ([x]) => {
      requireDtype([x], "f32", name);
      return { dtype: "f32", shape: x.shape };
    },
    lower: (emitter, inputs, output) => {
      if (typeof lower === "string") emitter.node(lower, inputs, output);
      else lower(emitter, inputs[0], output);
    },
    ...(gradient && { vjp: ({ grad, inputs: [x], output }) => [gradient(grad, x, output)] }),
  };
  return (x) => apply(op, [x], null);
}

type BinaryGradient = (grad: Value, a: Value, b: Value, output: Value) => Value;

function binary(
  name: string,
  onnxName: string,
  gradients?: readonly [BinaryGradient, BinaryGradient],
  dtype: DType = "f32",
): (a: Operand, b: Operand) => Value {
  const op: Op<null> = {
    name,
    infer: ([a, b]) => {
      requireDtype([b], a.dtype, name);
      return { dtype, shape: broadcastShapes(a.shape, b.shape, name) };
    },
    lower: (emitter, inputs, output) => {
      emitter.node(onnxName, inputs, output);
    },
    ...(gradients && {
      vjp: ({ grad, inputs: [a, b], output, needs }) => [
        needs[0] ? unbroadcast(gradients[0](grad, a, b, output), a.shape) : undefined,
        needs[1] ? unbroadcast(gradients[1](grad, a, b, output), b.shape) : undefined,
      ],
    }),
  };
  return (a, b) => {
    const [left, right] = operands(a, b);
    return apply(op, [left, right], null);
  };
}

function operands(a: Operand, b: Operand): [Value, Value] {
  if (typeof a === "number" && typeof b === "number") throw graphError("An op needs at least one tensor.");
  const graph = innermostGraph([a, b].filter((operand): operand is Value => typeof operand !== "number"));
  return [typeof a === "number" ? graph.root.scalar(a) : a, typeof b === "number" ? graph.root.scalar(b) : b];
}

export const add = binary("add", "Add", [(grad) => grad, (grad) => grad]);
export const sub = binary("sub", "Sub", [(grad) => grad, (grad) => neg(grad)]);
export const mul = binary("mul", "Mul", [(grad, _a, b) => mul(grad, b), (grad, a) => mul(grad, a)]);
export const div = binary("div", "Div", [
  (grad, _a, b) => div(grad, b),
  (grad, _a, b, output) => neg(div(mul(grad, output), b)),
]);
/** Elementwise maximum; where both are equal the gradient goes to the second. */
export const maximum = binary("maximum", "Max", [
  (grad, a, b) => mul(grad, cast(less(b, a), "f32")),
  (grad, a, b) => mul(grad, sub(1, cast(less(b, a), "f32"))),
]);
/** Elementwise minimum; where both are equal the gradient goes to the second. */
export const minimum = binary("minimum", "Min", [
  (grad, a, b) => mul(grad, cast(less(a, b), "f32")),
  (grad, a, b) => mul(grad, sub(1, cast(less(a, b), "f32"))),
]);
/** bool, a < b; piecewise constant, so without a gradient. */
export const less = binary("less", "Less", undefined, "bool");
/** bool, a == b; without a gradient. */
export const equal = binary("equal", "Equal", undefined, "bool");

export const neg = unary("neg", "Neg", (grad) => neg(grad));
export const exp = unary("exp", "Exp", (grad, _x, y) => mul(grad, y));
export const log = unary("log", "Log", (grad, x) => div(grad, x));
export const sqrt = unary("sqrt", "Sqrt", (grad, _x, y) => div(mul(grad, 0.5), y));
export const reciprocal = unary("reciprocal", "Reciprocal", (grad, _x, y) => neg(mul(grad, square(y))));
/** 1 / sqrt(x) */
export const rsqrt = unary(
  "rsqrt",
  (emitter, x, y) => {
    emitter.node("Reciprocal", [emitter.node("Sqrt", [x], undefined)], y);
  },
  (grad, x, y) => div(mul(mul(grad, -0.5), y), x),
);
export const square = unary(
  "square",
  (emitter, x, y) => {
    emitter.node("Mul", [x, x], y);
  },
  (grad, x) => mul(grad, mul(x, 2)),
);
export const tanh = unary("tanh", "Tanh", (grad, _x, y) => mul(grad, sub(1, square(y))));
export const sigmoid = unary("sigmoid", "Sigmoid", (grad, _x, y) => mul(grad, mul(y, sub(1, y))));
export const erf = unary("erf", "Erf", (grad, x) =>
  mul(grad, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI))),
);
export const relu = unary("relu", "Relu", (grad, _x, y) => mul(grad, cast(less(0, y), "f32")));
/** Gradient sign(x), 0 at 0. */
export const abs = unary("abs", "Abs", (grad, x) => mul(grad, sign(x)));
/** To the nearest integer, halves to even; without a gradient. */
export const round = unary("round", "Round");
/** -1, 0 or 1; without a gradient (see `signSte`). */
export const sign = unary("sign", "Sign");

const clipOp: Op<{ readonly low: number; readonly high: number }> = {
  name: "clip",
  infer: ([x]) => ({ dtype: "f32", shape: x.shape }),
  lower: (emitter, [x], output, { low, high }) => {
    emitter.node("Clip", [x, emitter.float(low), emitter.float(high)], output);
  },
  vjp: ({ grad, inputs: [x], attributes: { low, high } }) => {
    const above = cast(less(low, x), "f32");
    return [mul(mul(grad, above), cast(less(x, high), "f32"))];
  },
};

/** Limits to [low, high]; the gradient is 0 outside. */
export function clip(x: Value, low: number, high: number): Value {
  return apply(clipOp, [x], { low, high });
}

const whereOp: Op<null> = {
  name: "where",
  infer: ([condition, a, b]) => {
    requireDtype([condition], "bool", "where");
    requireDtype([a, b], "f32", "where");
    const branches = broadcastShapes(a.shape, b.shape, "where");
    return { dtype: "f32", shape: broadcastShapes(condition.shape, branches, "where") };
  },
  lower: (emitter, inputs, output) => {
    emitter.node("Where", inputs, output);
  },
  vjp: ({ grad, inputs: [condition, a, b], needs }) => [
    undefined,
    needs[1] ? unbroadcast(where(condition, grad, 0), a.shape) : undefined,
    needs[2] ? unbroadcast(where(condition, 0, grad), b.shape) : undefined,
  ],
};

/** condition ? a : b, elementwise. */
export function where(condition: Value, a: Operand, b: Operand): Value {
  const value = (operand: Operand): Value =>
    typeof operand === "number" ? condition.graph.root.scalar(operand) : operand;
  return apply(whereOp, [condition, value(a), value(b)], null);
}

const castOp: Op<DType> = {
  name: "cast",
  infer: ([x], dtype) => ({ dtype, shape: x.shape }),
  lower: (emitter, inputs, output, dtype) => {
    emitter.node("Cast", inputs, output, { to: { int: ELEMENT_TYPE[dtype] } });
  },
};

/** Changes the dtype; without a gradient. */
export function cast(x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : apply(castOp, [x], dtype);
}
