/** Helpers of the engine's tests: random data, running a graph, and gradients against central differences. */
import { expect } from "vitest";
import { compile, gradients, Graph, ops, type HostArray, type Value } from "../src/index.js";

/** A small seeded generator (mulberry32) of numbers in [0, 1). */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Approximately normal numbers (sum of uniforms), without the tails that would spoil finite differences. */
export function randomNormal(length: number, random: () => number): Float32Array {
  return Float32Array.from({ length }, () => (random() + random() + random() + random() - 2) * Math.sqrt(3));
}

export interface GradientCase {
  /** Shapes of the differentiated f32 inputs. */
  readonly shapes: readonly (readonly number[])[];
  readonly build: (...values: Value[]) => Value;
  /** How to draw an input. @default normal */
  readonly sample?: (random: () => number) => number;
}

/**
 * Step of the central differences, and how far they may be off: f32 results carry 1e-7 relative error, divided by the
 * step that is 1e-5 per unit of output; the step's own error is h^2 f''' / 6, about 2e-5 f'''. Forty outputs of
 * order one with third derivatives of order ten stay below 5e-3.
 */
const STEP = 1e-2;
const TOLERANCE = 5e-3;

/** Compares every gradient element of sum(w o f(inputs)) with central differences. */
export async function checkGradients({ shapes, build, sample }: GradientCase, seed = 1): Promise<void> {
  const random = randomSource(seed);
  const graph = new Graph();
  const inputs = shapes.map((shape, index) => graph.input(`x${index}`, shape));
  const y = build(...inputs);
  const seedGrad = graph.input("w", y.shape);
  const grads = gradients([{ value: y, grad: seedGrad }], inputs);
  graph.output("y", y);
  grads.forEach((grad, index) => graph.output(`g${index}`, grad));
  const program = await compile(graph);
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const feeds: Record<string, Float32Array> = {};
  inputs.forEach((input, index) => {
    feeds[`x${index}`] = sample
      ? Float32Array.from({ length: size(input.shape) }, () => sample(random))
      : randomNormal(size(input.shape), random);
  });
  const w = randomNormal(size(y.shape), random);
  const loss = async (): Promise<number> => {
    const result = await program.run(known({ ...feeds, w }));
    return result["y"].reduce((sum, value, index) => sum + value * w[index], 0);
  };
  const known = (all: Record<string, Float32Array>): Record<string, Float32Array> =>
    Object.fromEntries(Object.entries(all).filter(([name]) => program.inputs.has(name)));
  const analytic = await program.run(known({ ...feeds, w }));
  for (let input = 0; input < inputs.length; input++) {
    const values = feeds[`x${input}`];
    const got = analytic[`g${input}`];
    for (let at = 0; at < values.length; at++) {
      const original = values[at];
      values[at] = original + STEP;
      const above = values[at];
      const lossAbove = await loss();
      values[at] = original - STEP;
      const below = values[at];
      const lossBelow = await loss();
      values[at] = original;
      const want = (lossAbove - lossBelow) / (above - below);
      expect(
        Math.abs(got[at] - want),
        `input ${input} element ${at}: ${got[at]} against ${want}`,
      ).toBeLessThan(TOLERANCE * Math.max(1, Math.abs(want)));
    }
  }
  await program.dispose();
}

/** Runs a graph built from the given arrays once; returns the result. */
export async function evaluate(
  inputs: readonly { readonly shape: readonly number[]; readonly data: HostArray }[],
  build: (...values: Value[]) => Value,
): Promise<{ readonly shape: readonly number[]; readonly data: number[] }> {
  const graph = new Graph();
  const dtype = (data: HostArray): "f32" | "i32" | "i64" =>
    data instanceof Float32Array ? "f32" : data instanceof Int32Array ? "i32" : "i64";
  const values = inputs.map(({ shape, data }, index) => graph.input(`x${index}`, shape, dtype(data)));
  const y = ops.cast(build(...values), "f32");
  graph.output("y", y);
  const program = await compile(graph);
  const feeds = Object.fromEntries(
    inputs
      .map(({ data }, index) => [`x${index}`, data] as const)
      .filter(([name]) => program.inputs.has(name)),
  );
  const result = await program.run(feeds);
  await program.dispose();
  return { shape: y.shape, data: Array.from(result["y"]) };
}

/** f32 results of a few dozen operations on numbers of order one. */
export const F32_TOLERANCE = 2e-5;

export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance = F32_TOLERANCE,
): void {
  expect(got.length).toBe(want.length);
  for (let at = 0; at < want.length; at++) {
    const scale = Math.max(1, Math.abs(want[at]));
    expect(Math.abs(got[at] - want[at]), `element ${at}: ${got[at]} against ${want[at]}`).toBeLessThan(
      tolerance * scale,
    );
  }
}
