/**
 * One AdamW step of sign latents, as a program of the engine (vectorised, on all its threads): the gradient of the
 * signs becomes that of the latents through the surrogate, then moments, latents and signs follow.
 * The plain twins below say the same in loops.
 */
import {
  type CompileOptions,
  Graph,
  multiplySurrogate,
  ops,
  type Surrogate,
  type Value,
} from "@subbit/engine";
import type { LatentArrays, LatentStepper, StepScalars } from "./latent-stepper.js";
import { ProgramCache } from "./program-cache.js";

export interface LatentStepOptions {
  readonly surrogate: Surrogate;
  /** Latents stay within plus and minus this. @default no limit */
  readonly limit?: number;
  /** Whether steps come with a `keep` below 1. @default false */
  readonly decays?: boolean;
  /** Whether gradients are those of the latents already, and come with a scale. @default false */
  readonly collected?: boolean;
}

/** AdamW. Its moments are the first and the second. */
export class LatentSteps implements LatentStepper {
  readonly moments = 2;
  readonly #programs: ProgramCache;
  readonly #options: LatentStepOptions;

  constructor(options: LatentStepOptions, compile: CompileOptions = {}) {
    this.#options = options;
    this.#programs = new ProgramCache(compile);
  }

  async step(
    { latents, signs, moments: [first, second] }: LatentArrays,
    gradient: Float32Array,
    scalars: StepScalars,
  ): Promise<void> {
    const { length } = latents;
    const program = await this.#programs.get(String(length), () => adamGraph(length, this.#options));
    const { beta1, beta2, rate, time, floor, epsilon, keep, gradientScale } = scalars;
    // Each array is read by the first node that needs it and written by the last, so input and output may be one.
    await program.run(
      {
        latents,
        first,
        second,
        gradient,
        beta1: Float32Array.of(beta1),
        beta2: Float32Array.of(beta2),
        rate: Float32Array.of(rate / (1 - beta1 ** time)),
        secondCorrection: Float32Array.of(1 / (1 - beta2 ** time)),
        floor: Float32Array.of(floor),
        epsilon: Float32Array.of(epsilon),
        keep: Float32Array.of(keep),
        gradientScale: Float32Array.of(gradientScale),
      },
      { nextLatents: latents, nextFirst: first, nextSecond: second, signs },
    );
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }
}

function adamGraph(length: number, options: LatentStepOptions): Graph {
  const graph = new Graph();
  const array = (name: string) => graph.input(name, [length]);
  const scalar = (name: string) => graph.input(name, [1]);
  const [latents, first, second] = [array("latents"), array("first"), array("second")];
  const [beta1, beta2, rate] = [scalar("beta1"), scalar("beta2"), scalar("rate")];
  const through = latentGradient(graph, latents, options);
  const nextFirst = ops.add(through, ops.mul(beta1, ops.sub(first, through)));
  const squared = ops.square(through);
  const nextSecond = ops.add(squared, ops.mul(beta2, ops.sub(second, squared)));
  const correction = scalar("secondCorrection");
  const typical = ops.sqrt(ops.mul(ops.reduceMean(nextSecond, [0], { keepDims: true }), correction));
  const least = ops.add(ops.mul(typical, scalar("floor")), scalar("epsilon"));
  const size = ops.add(ops.sqrt(ops.mul(nextSecond, correction)), least);
  graph.output("nextFirst", nextFirst);
  graph.output("nextSecond", nextSecond);
  moveLatents(graph, latents, ops.div(ops.mul(nextFirst, rate), size), options);
  return graph;
}

/** The gradient of the latents, from the input `gradient` of their shape (and, where it is collected, `gradientScale`). */
export function latentGradient(
  graph: Graph,
  latents: Value,
  { collected = false, surrogate }: LatentStepOptions,
): Value {
  const gradient = graph.input("gradient", latents.shape);
  const scale = graph.input("gradientScale", [1]);
  return ops.mul(gradient, collected ? scale : ops.surrogateSlope(latents, surrogate));
}

/** Outputs `nextLatents` and `signs`: latents less their decay (input `keep`) and the step, within the limit. */
export function moveLatents(
  graph: Graph,
  latents: Value,
  step: Value,
  { limit = Infinity, decays = false }: LatentStepOptions,
): void {
  const keep = graph.input("keep", [1]);
  const moved = ops.sub(decays ? ops.mul(latents, keep) : latents, step);
  const next = limit < Infinity ? ops.clip(moved, -limit, limit) : moved;
  graph.output("nextLatents", next);
  graph.output("signs", ops.where(ops.less(next, 0), -1, 1));
}

/** The same step in plain loops: the twin that tests compare with. */
export function latentStepTwin(
  { latents, signs, moments: [first, second] }: LatentArrays,
  gradient: Float32Array,
  options: LatentStepOptions,
  { beta1, beta2, rate, time, floor, epsilon, keep, gradientScale }: StepScalars,
): void {
  const { limit = Infinity, collected = false, surrogate } = options;
  const through = collected
    ? gradient.map((g) => g * gradientScale)
    : multiplySurrogate(gradient.slice(), latents, surrogate);
  let sum = 0;
  for (let i = 0; i < latents.length; i++) {
    first[i] = beta1 * first[i] + (1 - beta1) * through[i];
    second[i] = beta2 * second[i] + (1 - beta2) * through[i] * through[i];
    sum += second[i];
  }
  const correction = 1 / (1 - beta2 ** time);
  const least = floor * Math.sqrt((sum / latents.length) * correction) + epsilon;
  for (let i = 0; i < latents.length; i++) {
    const size = Math.sqrt(second[i] * correction) + least;
    const moved = keep * latents[i] - ((rate / (1 - beta1 ** time)) * first[i]) / size;
    latents[i] = Math.min(limit, Math.max(-limit, moved));
    signs[i] = latents[i] < 0 ? -1 : 1;
  }
}

/** One AdamW step of an ordinary array, in place; `floor` does not count here. */
export function plainStep(
  values: Float32Array,
  first: Float32Array,
  second: Float32Array,
  gradient: Float32Array,
  { beta1, beta2, rate, time, epsilon, keep, gradientScale }: StepScalars,
): void {
  const step = rate / (1 - beta1 ** time);
  const correction = 1 / (1 - beta2 ** time);
  for (let i = 0; i < values.length; i++) {
    const g = gradient[i] * gradientScale;
    const m = (first[i] = beta1 * first[i] + (1 - beta1) * g);
    const v = (second[i] = beta2 * second[i] + (1 - beta2) * g * g);
    values[i] = keep * values[i] - (step * m) / (Math.sqrt(v * correction) + epsilon);
  }
}
