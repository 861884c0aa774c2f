/**
 * One AdamW step of sign latents, as a program of the engine (vectorised, on all its threads): the gradient of the
 * signs becomes that of the latents through the surrogate k (1 - tanh^2 (k x)), then moments, latents and signs follow.
 * The plain twin below says the same in a loop.
 */
import { compile, type CompileOptions, Graph, ops, type Program } from "@subbit/engine";

/** What an AdamW step needs beside the arrays; `rate` has the bias corrections folded in. */
export interface AdamScalars {
  readonly beta1: number;
  readonly beta2: number;
  /** Step size / (1 - beta1^t). */
  readonly rate: number;
  /** 1 / (1 - beta2^t) */
  readonly secondCorrection: number;
  /**
   * Added to the size of each gradient, as a share of the root mean square over the whole array: where gradients are
   * small beside the array's, steps are too. 0 gives Adam, large values momentum with one rate per array.
   */
  readonly floor: number;
}

/** Arrays of one parameter, all of equal length, updated in place. */
export interface LatentArrays {
  readonly latents: Float32Array;
  readonly signs: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
}

/** Latents further out than this have all but no gradient left; they are kept from running away. */
export const LATENT_LIMIT = 4;

/** Keeps the division defined where no gradient has ever arrived. */
const TINY = 1e-20;

/** Programs by array length. */
export class LatentSteps {
  readonly #programs = new Map<number, Promise<Program>>();
  readonly #width: number;
  readonly #options: CompileOptions;

  constructor(surrogateWidth: number, options: CompileOptions = {}) {
    this.#width = surrogateWidth;
    this.#options = options;
  }

  async step(arrays: LatentArrays, signGradient: Float32Array, adam: AdamScalars): Promise<void> {
    const { latents, signs, first, second } = arrays;
    const program = await this.#program(latents.length);
    // Each array is read by the first node that needs it and written by the last, so input and output may be one.
    await program.run(
      {
        latents,
        first,
        second,
        gradient: signGradient,
        beta1: Float32Array.of(adam.beta1),
        beta2: Float32Array.of(adam.beta2),
        rate: Float32Array.of(adam.rate),
        secondCorrection: Float32Array.of(adam.secondCorrection),
        floor: Float32Array.of(adam.floor),
      },
      { nextLatents: latents, nextFirst: first, nextSecond: second, signs },
    );
  }

  async dispose(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    for (const program of programs) await (await program).dispose();
  }

  #program(length: number): Promise<Program> {
    let program = this.#programs.get(length);
    if (program === undefined) {
      program = compile(latentStepGraph(length, this.#width), this.#options);
      this.#programs.set(length, program);
    }
    return program;
  }
}

function latentStepGraph(length: number, width: number): Graph {
  const graph = new Graph();
  const array = (name: string) => graph.input(name, [length]);
  const scalar = (name: string) => graph.input(name, [1]);
  const [latents, first, second, gradient] = [
    array("latents"),
    array("first"),
    array("second"),
    array("gradient"),
  ];
  const [beta1, beta2, rate] = [scalar("beta1"), scalar("beta2"), scalar("rate")];
  const slope = ops.sub(1, ops.square(ops.tanh(width === 1 ? latents : ops.mul(latents, width))));
  const through = ops.mul(gradient, width === 1 ? slope : ops.mul(slope, width));
  const nextFirst = ops.add(through, ops.mul(beta1, ops.sub(first, through)));
  const squared = ops.square(through);
  const nextSecond = ops.add(squared, ops.mul(beta2, ops.sub(second, squared)));
  const correction = scalar("secondCorrection");
  const typical = ops.sqrt(ops.mul(ops.reduceMean(nextSecond, [0], { keepDims: true }), correction));
  const floor = ops.add(ops.mul(typical, scalar("floor")), TINY);
  const size = ops.add(ops.sqrt(ops.mul(nextSecond, correction)), floor);
  const moved = ops.sub(latents, ops.div(ops.mul(nextFirst, rate), size));
  const next = ops.clip(moved, -LATENT_LIMIT, LATENT_LIMIT);
  graph.output("nextLatents", next);
  graph.output("nextFirst", nextFirst);
  graph.output("nextSecond", nextSecond);
  graph.output("signs", ops.where(ops.less(next, 0), -1, 1));
  return graph;
}

/** The same step in plain loops: the twin that tests compare with. */
export function latentStepTwin(
  { latents, signs, first, second }: LatentArrays,
  signGradient: Float32Array,
  surrogateWidth: number,
  adam: AdamScalars,
): void {
  let sum = 0;
  for (let i = 0; i < latents.length; i++) {
    const tanh = Math.tanh(surrogateWidth * latents[i]);
    const gradient = signGradient[i] * surrogateWidth * (1 - tanh * tanh);
    first[i] = adam.beta1 * first[i] + (1 - adam.beta1) * gradient;
    second[i] = adam.beta2 * second[i] + (1 - adam.beta2) * gradient * gradient;
    sum += second[i];
  }
  const floor = adam.floor * Math.sqrt((sum / latents.length) * adam.secondCorrection) + TINY;
  for (let i = 0; i < latents.length; i++) {
    const size = Math.sqrt(second[i] * adam.secondCorrection) + floor;
    const moved = latents[i] - (adam.rate * first[i]) / size;
    latents[i] = Math.min(LATENT_LIMIT, Math.max(-LATENT_LIMIT, moved));
    signs[i] = latents[i] < 0 ? -1 : 1;
  }
}

/** One Adam step of an ordinary array, in place; `floor` does not count here. */
export function plainStep(
  values: Float32Array,
  first: Float32Array,
  second: Float32Array,
  gradient: Float32Array,
  adam: AdamScalars,
): void {
  const { beta1, beta2, rate, secondCorrection } = adam;
  for (let i = 0; i < values.length; i++) {
    const g = gradient[i];
    const m = (first[i] = beta1 * first[i] + (1 - beta1) * g);
    const v = (second[i] = beta2 * second[i] + (1 - beta2) * g * g);
    values[i] -= (rate * m) / (Math.sqrt(v * secondCorrection) + TINY);
  }
}
