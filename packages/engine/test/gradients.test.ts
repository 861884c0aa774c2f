/** The gradient of every op against central differences, on small random shapes with broadcasting variants. */
import { describe, it } from "vitest";
import { ops, type Value } from "../src/index.js";
import { checkGradients, type GradientCase } from "./support.js";

const positive = (random: () => number): number => 0.5 + 1.5 * random();
/** Away from the kinks at -1, 0 and 1 by more than the step of the differences. */
const awayFromKinks = (random: () => number): number => {
  const magnitude = random() < 0.5 ? 0.1 + 0.8 * random() : 1.1 + random();
  return random() < 0.5 ? -magnitude : magnitude;
};
/** Distinct values at least 0.05 apart, so that a maximum does not change within a step. */
const spaced = (): ((random: () => number) => number) => {
  const left = Array.from({ length: 64 }, (_, index) => index * 0.05 - 1.6);
  return (random) => left.splice(Math.floor(random() * left.length), 1)[0];
};

const ids = (x: Value, values: number[], shape: number[] = [values.length]): Value =>
  x.graph.constant(Int32Array.from(values), shape);

const cases: Record<string, GradientCase> = {
  "add, broadcast both ways": {
    shapes: [
      [2, 1, 3],
      [4, 1],
    ],
    build: (a, b) => ops.add(a, b),
  },
  "sub, vector from matrix": { shapes: [[3, 4], [4]], build: (a, b) => ops.sub(a, b) },
  "mul, column": {
    shapes: [
      [3, 4],
      [3, 1],
    ],
    build: (a, b) => ops.mul(a, b),
  },
  "mul, rank-0": { shapes: [[3, 4], []], build: (a, b) => ops.mul(a, b) },
  "mul by itself": { shapes: [[5]], build: (a) => ops.mul(a, a) },
  "div, broadcast": {
    shapes: [
      [2, 3],
      [1, 3],
    ],
    build: (a, b) => ops.div(a, b),
    sample: positive,
  },
  "div by number and number by tensor": {
    shapes: [[5]],
    build: (a) => ops.div(2, ops.div(a, 3)),
    sample: positive,
  },
  "sub from number": { shapes: [[5]], build: (a) => ops.sub(1, a) },
  maximum: { shapes: [[3, 4], [4]], build: (a, b) => ops.maximum(a, b), sample: spaced() },
  minimum: { shapes: [[3, 4], [4]], build: (a, b) => ops.minimum(a, b), sample: spaced() },
  neg: { shapes: [[5]], build: ops.neg },
  exp: { shapes: [[5]], build: ops.exp },
  log: { shapes: [[5]], build: ops.log, sample: positive },
  sqrt: { shapes: [[5]], build: ops.sqrt, sample: positive },
  rsqrt: { shapes: [[5]], build: ops.rsqrt, sample: positive },
  reciprocal: { shapes: [[5]], build: ops.reciprocal, sample: positive },
  square: { shapes: [[5]], build: ops.square },
  tanh: { shapes: [[5]], build: ops.tanh },
  sigmoid: { shapes: [[5]], build: ops.sigmoid },
  erf: { shapes: [[5]], build: ops.erf },
  relu: { shapes: [[8]], build: ops.relu, sample: awayFromKinks },
  abs: { shapes: [[8]], build: ops.abs, sample: awayFromKinks },
  clip: { shapes: [[12]], build: (x) => ops.clip(x, -1, 1), sample: awayFromKinks },
  where: {
    shapes: [[3, 4], [4], [3, 1]],
    build: (x, a, b) => ops.where(ops.less(x, 0.2), a, ops.mul(b, x)),
    sample: spaced(),
  },
  silu: { shapes: [[7]], build: ops.silu },
  gelu: { shapes: [[7]], build: ops.gelu },
  geluTanh: { shapes: [[7]], build: ops.geluTanh },
  reshape: { shapes: [[2, 6]], build: (x) => ops.mul(ops.reshape(x, [3, -1]), ops.reshape(x, [3, 4])) },
  expand: { shapes: [[3, 1]], build: (x) => ops.square(ops.expand(x, [2, 3, 4])) },
  "reduceSum over some axes": { shapes: [[2, 3, 4]], build: (x) => ops.square(ops.reduceSum(x, [0, 2])) },
  "reduceSum, all, kept": {
    shapes: [[2, 3]],
    build: (x) => ops.square(ops.reduceSum(x, undefined, { keepDims: true })),
  },
  reduceMean: { shapes: [[2, 3, 4]], build: (x) => ops.square(ops.reduceMean(x, [-1], { keepDims: true })) },
  reduceMax: { shapes: [[3, 5]], build: (x) => ops.square(ops.reduceMax(x, [1])), sample: spaced() },
  transpose: { shapes: [[2, 3, 4]], build: (x) => ops.square(ops.transpose(x, [2, 0, 1])) },
  slice: { shapes: [[4, 5]], build: (x) => ops.square(ops.slice(ops.slice(x, 0, 1, 3), -1, 2)) },
  pad: { shapes: [[2, 3]], build: (x) => ops.square(ops.add(ops.pad(x, 1, 1, 2), 0.5)) },
  concat: {
    shapes: [
      [2, 3],
      [2, 1],
    ],
    build: (a, b) => ops.square(ops.concat([a, b, a], 1)),
  },
  "gather with repeated rows": {
    shapes: [[4, 3]],
    build: (x) => ops.square(ops.gather(x, ids(x, [2, 0, 2, 3, 2, 2], [2, 3]))),
  },
  scatterAdd: { shapes: [[3, 2]], build: (x) => ops.square(ops.scatterAdd(x, ids(x, [1, 4, 1]), 5)) },
  takeAlong: { shapes: [[3, 4]], build: (x) => ops.square(ops.takeAlong(x, ids(x, [1, 3, 1]))) },
  matmul: {
    shapes: [
      [3, 4],
      [4, 2],
    ],
    build: (a, b) => ops.matmul(a, b),
  },
  "matmul, transA": {
    shapes: [
      [4, 3],
      [4, 2],
    ],
    build: (a, b) => ops.matmul(a, b, { transA: true }),
  },
  "matmul, transB": {
    shapes: [
      [3, 4],
      [2, 4],
    ],
    build: (a, b) => ops.matmul(a, b, { transB: true }),
  },
  "matmul, both": {
    shapes: [
      [4, 3],
      [2, 4],
    ],
    build: (a, b) => ops.matmul(a, b, { transA: true, transB: true }),
  },
  "batched matmul, broadcast batch": {
    shapes: [
      [2, 1, 3, 4],
      [3, 4, 2],
    ],
    build: (a, b) => ops.matmul(a, b),
  },
  "batched matmul, transA": {
    shapes: [
      [2, 4, 3],
      [2, 4, 2],
    ],
    build: (a, b) => ops.matmul(a, b, { transA: true }),
  },
  "batched matmul, transB": {
    shapes: [
      [2, 3, 4],
      [2, 2, 4],
    ],
    build: (a, b) => ops.matmul(a, b, { transB: true }),
  },
  "batched matmul, both": {
    shapes: [
      [2, 4, 3],
      [2, 4],
    ],
    build: (a, b) => ops.matmul(a, b, { transA: true, transB: true }),
  },
  "linear with bias": { shapes: [[2, 3, 4], [5, 4], [5]], build: (x, w, b) => ops.linear(x, w, b) },
  softmax: { shapes: [[3, 5]], build: ops.softmax },
  logSoftmax: { shapes: [[3, 5]], build: ops.logSoftmax },
  rmsNorm: { shapes: [[3, 5], [5]], build: (x, w) => ops.rmsNorm(x, w, 1e-5) },
  layerNorm: { shapes: [[3, 5], [5], [5]], build: (x, w, b) => ops.layerNorm(x, w, b, 1e-5) },
  normalise: { shapes: [[3, 5]], build: (x) => ops.normalise(x, 1e-5) },
  "rope of a part of a head, with a factor": {
    shapes: [[6, 12]],
    build: (x) => ops.rope(x, ops.ropeTables(x, [1, 0.3], 3, 1.3), 2),
  },
  "attention over a window, soft cap, three chunks": {
    shapes: [
      [7, 8],
      [7, 4],
      [7, 4],
    ],
    build: (q, k, v) =>
      ops.causalAttention(q, k, v, {
        batch: 1,
        tokens: 7,
        heads: 4,
        kvHeads: 2,
        headDim: 2,
        scale: 0.9,
        softcap: 0.8,
        window: 3,
        chunk: 3,
      }),
  },
  rope: { shapes: [[6, 8]], build: (x) => ops.rope(x, ops.ropeTables(x, [1, 0.3], 3), 2) },
  "causal attention, grouped heads": {
    shapes: [
      [6, 8],
      [6, 4],
      [6, 4],
    ],
    build: (q, k, v) => {
      const shape = { batch: 2, tokens: 3, heads: 4, kvHeads: 2, headDim: 2, scale: 0.7 };
      return ops.causalAttention(q, k, v, shape);
    },
  },
  "causal attention, three chunks of queries": {
    shapes: [
      [5, 4],
      [5, 2],
      [5, 2],
    ],
    build: (q, k, v) => {
      const shape = { batch: 1, tokens: 5, heads: 2, kvHeads: 1, headDim: 2, scale: 0.6, chunk: 2 };
      return ops.causalAttention(q, k, v, shape);
    },
  },
  "causal attention, equal heads": {
    shapes: [
      [4, 6],
      [4, 6],
      [4, 6],
    ],
    build: (q, k, v) => {
      const shape = { batch: 1, tokens: 4, heads: 2, kvHeads: 2, headDim: 3, scale: 0.5 };
      return ops.causalAttention(q, k, v, shape);
    },
  },
  crossEntropy: { shapes: [[3, 5]], build: (x) => ops.crossEntropy(x, ids(x, [4, 0, 2])) },
  "klDivergence (student)": {
    shapes: [[2, 4]],
    build: (x) =>
      ops.klDivergence(x.graph.constant(Float32Array.of(1, -1, 0.5, 0, 2, 0, -1, 0.3), [2, 4]), x),
  },
  "a value used along several paths": {
    shapes: [[3, 3]],
    build: (x) => ops.add(ops.matmul(x, ops.tanh(x)), ops.mul(ops.reduceSum(x, [0]), x)),
  },
};

describe("gradients equal central differences", () => {
  let seed = 100;
  for (const [name, gradientCase] of Object.entries(cases)) {
    const own = seed++;
    it(name, () => checkGradients(gradientCase, own));
  }
});
