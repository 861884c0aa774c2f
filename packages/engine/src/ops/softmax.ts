/** Softmax and its logarithm over the last axis, with closed-form gradients. */
import { apply, type Op, type Value } from "../graph/graph.js";
import { reduceSum } from "./broadcast.js";
import { exp, mul, sub } from "./elementwise.js";

const softmaxOp: Op<null> = {
  name: "softmax",
  infer: ([x]) => ({ dtype: "f32", shape: x.shape }),
  lower: (emitter, inputs, output) => {
    emitter.node("Softmax", inputs, output, { axis: { int: -1 } });
  },
  vjp: ({ grad, output }) => [mul(output, sub(grad, reduceSum(mul(grad, output), [-1], { keepDims: true })))],
};

export function softmax(x: Value): Value {
  return apply(softmaxOp, [x], null);
}

const logSoftmaxOp: Op<null> = {
  name: "logSoftmax",
  infer: ([x]) => ({ dtype: "f32", shape: x.shape }),
  lower: (emitter, inputs, output) => {
    emitter.node("LogSoftmax", inputs, output, { axis: { int: -1 } });
  },
  vjp: ({ grad, output }) => [sub(grad, mul(exp(output), reduceSum(grad, [-1], { keepDims: true })))],
};

export function logSoftmax(x: Value): Value {
  return apply(logSoftmaxOp, [x], null);
}
