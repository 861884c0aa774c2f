/** Losses over logits, one number per row, with closed-form gradients. */
import type { Value } from "../graph/graph.js";
import { graphError, showShape, sameShape } from "../graph/shapes.js";
import { reduceSum, reshape } from "./broadcast.js";
import { log, mul, neg, sub } from "./elementwise.js";
import { fused } from "./fused.js";
import { reduceMax } from "./reduce.js";
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
  // sum p (log p - log q) = sum p (t - s) - (lse t - lse s): one exponential per logit and model.
  const teacher = softmax(teacherLogits);
  const student = softmax(studentLogits);
  const cross = reduceSum(mul(teacher, sub(teacherLogits, studentLogits)), [-1]);
  const normalizers = sub(logSumExp(teacherLogits, teacher), logSumExp(studentLogits, student));
  return fused("klDivergence", [studentLogits], sub(cross, normalizers), ({ grad }) => [
    mul(sub(student, teacher), reshape(grad, [-1, 1])),
  ]);
}

/** log sum exp of each row, from its largest logit and that one's probability, which is never below 1 / classes. */
function logSumExp(logits: Value, probabilities: Value): Value {
  return sub(reduceMax(logits, [-1]), log(reduceMax(probabilities, [-1])));
}
