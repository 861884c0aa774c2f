/** Head programs against plain double-precision formulas, and their gradients against central differences. */
import { describe, expect, it } from "vitest";
import { HeadRunner, loadHead, type HeadRunnerOptions, type Results } from "../src/index.js";
import { randomModel, tinySpec } from "./random-model.js";
import { expectClose, randomNormal, randomSource } from "./support.js";

const TOKENS = 11;
const CHUNK = 4;
const STEP = 1e-2;
/** f32 losses of order three with steps of 1e-2. */
const TOLERANCE = 5e-3;

const spec = tinySpec();
const random = randomSource(12);
const hidden = randomNormal(TOKENS * spec.hiddenSize, random);
const teacherHidden = randomNormal(TOKENS * spec.hiddenSize, random);
const targets = Int32Array.from({ length: TOKENS }, () => Math.floor(random() * spec.vocabSize));
const tokenWeights = Float32Array.from({ length: TOKENS }, (_, at) => (at === 5 ? 0 : 0.5 + random()));

/** log softmax of norm and head, [tokens][vocab], in double precision. */
function logProbabilities(states: Float32Array, norm: Float32Array, head: Float32Array): number[][] {
  const width = spec.hiddenSize;
  return Array.from({ length: TOKENS }, (_, token) => {
    const x = Array.from(states.subarray(token * width, (token + 1) * width));
    const inverse = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / width + spec.norm.eps);
    const logits = Array.from({ length: spec.vocabSize }, (_, id) =>
      x.reduce((sum, value, at) => sum + value * inverse * norm[at] * head[id * width + at], 0),
    );
    const top = Math.max(...logits);
    const total = top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
    return logits.map((value) => value - total);
  });
}

async function runOnce(
  options: HeadRunnerOptions,
  weights: Record<string, Float32Array>,
  perToken: object,
): Promise<Results> {
  const runner = await HeadRunner.create(spec, { chunk: CHUNK, ...options });
  const results = await runner.run(TOKENS, weights, { ...perToken });
  await runner.dispose();
  return results;
}

async function checkGradients(
  runner: HeadRunner,
  weights: Record<string, Float32Array>,
  perToken: Record<string, Float32Array | Int32Array>,
  output: string,
): Promise<void> {
  const analytic = await runner.run(TOKENS, weights, perToken);
  const loss = async (): Promise<number> => {
    const result = (await runner.run(TOKENS, weights, perToken))[output];
    return result.reduce((sum, value, at) => sum + value * tokenWeights[at], 0);
  };
  const pairs = [
    [perToken["hidden"] as Float32Array, analytic["dHidden"]],
    [weights["final-norm.weight"], analytic["grad.final-norm.weight"]],
  ] as const;
  for (const [values, grad] of pairs) {
    expect(grad.length).toBe(values.length);
    for (let at = 0; at < values.length; at += 5) {
      const original = values[at];
      values[at] = original + STEP;
      const above = await loss();
      values[at] = original - STEP;
      const below = await loss();
      values[at] = original;
      expect(Math.abs(grad[at] - (above - below) / (2 * STEP))).toBeLessThan(TOLERANCE);
    }
  }
}

describe("head programs, chunk by chunk", () => {
  it("cross-entropy and its gradients", async () => {
    const weights = await loadHead(randomModel(3));
    const runner = await HeadRunner.create(spec, { mode: "loss", gradients: true, chunk: CHUNK });
    const results = await runner.run(TOKENS, weights, { hidden, targets, tokenWeights });
    const norm = weights["final-norm.weight"];
    const want = logProbabilities(hidden, norm, weights["head.weight"]);
    expectClose(
      results["tokenLoss"],
      want.map((row, token) => -row[targets[token]]),
      1e-5,
    );
    await checkGradients(runner, weights, { hidden, targets, tokenWeights }, "tokenLoss");
    await runner.dispose();
  });

  it("KL to a teacher with its own norm and head, agreement, gradients", async () => {
    const student = await loadHead(randomModel(3));
    const teacher = await loadHead(randomModel(4));
    const weights = {
      ...student,
      "teacher.final-norm.weight": teacher["final-norm.weight"],
      "teacher.head.weight": teacher["head.weight"],
    };
    const runner = await HeadRunner.create(spec, { mode: "kl", gradients: true, chunk: CHUNK });
    const results = await runner.run(TOKENS, weights, { hidden, teacherHidden, tokenWeights });
    const of = (states: Float32Array, feeds: Record<string, Float32Array>): number[][] =>
      logProbabilities(states, feeds["final-norm.weight"], feeds["head.weight"]);
    const [p, q] = [of(teacherHidden, teacher), of(hidden, student)];
    const kl = p.map((row, token) =>
      row.reduce((sum, logP, id) => sum + Math.exp(logP) * (logP - q[token]?.[id]), 0),
    );
    expectClose(results["tokenKl"], kl, 1e-5);
    const top = (row: number[]): number => row.indexOf(Math.max(...row));
    expect(Array.from(results["agreement"])).toEqual(
      p.map((row, token) => (top(row) === top(q[token]) ? 1 : 0)),
    );
    await checkGradients(runner, weights, { hidden, teacherHidden, tokenWeights }, "tokenKl");
    await runner.dispose();
  });

  it("a shared head gives the same as the same head fed twice, and KL to oneself is zero", async () => {
    const student = await loadHead(randomModel(3));
    const norm = { "teacher.final-norm.weight": student["final-norm.weight"] };
    const twice = { ...student, ...norm, "teacher.head.weight": student["head.weight"] };
    const shared = await runOnce(
      { mode: "kl", sharedHead: true },
      { ...student, ...norm },
      { hidden, teacherHidden },
    );
    const apart = await runOnce({ mode: "kl" }, twice, { hidden, teacherHidden });
    expectClose(shared["tokenKl"], apart["tokenKl"]);
    const self = await runOnce(
      { mode: "kl", sharedHead: true },
      { ...student, ...norm },
      { hidden, teacherHidden: hidden },
    );
    expectClose(self["tokenKl"], new Float32Array(TOKENS), 1e-6);
    expect(Array.from(self["agreement"])).toEqual(Array<number>(TOKENS).fill(1));
  });
});
