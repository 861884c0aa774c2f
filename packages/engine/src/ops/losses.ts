/** Losses over logits, one number per row, with closed-form gradients. */
import type { Value } from "../graph/graph.js";
import { graphError, showShape, sameShape } from "../graph/shapes.js";
import { reduceSum, reshape } from "./broadcast.js";
import { exp, mul, neg, sub } from "./elementwise.js";
import { fused } from "./fused.js";
import { oneHot, takeAlong } from "./shape.js";
import { logSoftmax, softmax } from "./softmax.js";

/** -log softmax(logits)[target]: logits [rows, classes], targets i32 or i64 [rows] -> [rows]. */
export function crossEntropy(logits: Value, targets: Value): Value {
  const nll = neg(takeAlong(logSoftmax(logits), targets));
  return fused("crossEntropy", [logits], nll, ({ grad }) => [
    mul(sub(softmax(logits), oneHot(targets, logits.shape[1])), reshape(grad, [-1, 1])),
  ]);
}

/**
 * KL(teacher || student) of two softmaxes: logits [rows, classes] each -> [rows], in nats. The gradient goes to the
 * student only; the teacher is a constant.
 */
export function klDivergence(teacherLogits: Value, studentLogits: Value): Value {
  if (!sameShape(teacherLogits.shape, studentLogits.shape)) {
    throw graphError(`kl: ${showShape(teacherLogits.shape)} and ${showShape(studentLogits.shape)} differ.`);
  }
  const logTeacher = logSoftmax(teacherLogits);
  const teacher = exp(logTeacher);
  const kl = reduceSum(mul(teacher, sub(logTeacher, logSoftmax(studentLogits))), [-1]);
  return fused("klDivergence", [studentLogits], kl, ({ grad }) => [
    mul(sub(softmax(studentLogits), teacher), reshape(grad, [-1, 1])),
  ]);
}
