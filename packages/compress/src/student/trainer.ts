/**
 * A block under training: its arrays as feeds, and AdamW moments for the part that is trained. Signs move through their
 * latents; scales, norms and dense weights move by a share of their own mean magnitude.
 */
import type { Program, Results, WeightFeeds } from "@subbit/engine";
import { blockFeeds, type BlockForms, gradName } from "@subbit/engine";
import type { ModelSpec } from "@subbit/core";
import { type AdamScalars, type LatentSteps, plainStep } from "../optimise/latent-step.js";
import { blockForms, latentsName, signsName, stateFeeds, writeSigns } from "./feeds.js";
import { meanMagnitude } from "./latents.js";
import { type BlockState, blockArrays } from "./state.js";

/** Step sizes; a rate of 0 freezes the group. */
export interface TrainerRates {
  /** Of latents, absolute: they have unit mean magnitude. */
  readonly latents: number;
  /** Share of the mean magnitude of each scale vector. */
  readonly scales: number;
  /** Share of the mean magnitude of each norm weight. */
  readonly norms: number;
  /** Share of the mean magnitude of each dense weight. */
  readonly weights: number;
}

export interface OptimizerSettings {
  readonly beta1: number;
  readonly beta2: number;
  /** See `AdamScalars`; of latents only. */
  readonly floor: number;
}

interface Parameter {
  /** Name of the feed whose gradient moves it. */
  readonly feed: string;
  /** Name of the state's array. */
  readonly name: string;
  readonly values: Float32Array;
  /** Step size of each vector that the values are made of, one after another: one, or l of an envelope. */
  readonly rates: readonly number[];
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export class BlockTrainer {
  readonly state: BlockState;
  readonly forms: BlockForms;
  readonly feeds: WeightFeeds;
  /** Feeds whose gradients `apply` wants. */
  readonly trainable: readonly string[];
  readonly #parameters: readonly Parameter[];
  #steps = 0;

  constructor(spec: ModelSpec, state: BlockState, rates: TrainerRates) {
    this.state = state;
    this.forms = blockForms(state);
    this.feeds = stateFeeds(state);
    const arrays = blockArrays(state);
    const rateOf = {
      signs: rates.latents,
      scales: rates.scales,
      norm: rates.norms,
      weight: rates.weights,
      bias: 0,
    };
    this.#parameters = blockFeeds(spec, this.forms)
      .filter((feed) => rateOf[feed.kind] > 0)
      .map((feed): Parameter => {
        const name = feed.kind === "signs" ? latentsName(feed.name) : feed.name;
        const values = arrays.get(name)!;
        const vectors = feed.kind === "scales" ? split(values, feed.shape) : [values];
        const unit = (vector: Float32Array) => (feed.kind === "signs" ? 1 : meanMagnitude(vector));
        return {
          feed: feed.name,
          name,
          values,
          rates: vectors.map((vector) => rateOf[feed.kind] * unit(vector)),
          first: new Float32Array(values.length),
          second: new Float32Array(values.length),
        };
      });
    this.trainable = this.#parameters.map((parameter) => parameter.feed);
  }

  /** One optimizer step from the results of a `backward` or `tune` program; `factor` is the schedule's. */
  async apply(
    gradients: Results,
    factor: number,
    optimizer: OptimizerSettings,
    latentSteps: LatentSteps,
  ): Promise<void> {
    this.#steps++;
    const { beta1, beta2 } = optimizer;
    for (const { feed, values, rates, first, second } of this.#parameters) {
      const scalars = (rate: number): AdamScalars => ({
        beta1,
        beta2,
        rate: (rate * factor) / (1 - beta1 ** this.#steps),
        secondCorrection: 1 / (1 - beta2 ** this.#steps),
        floor: optimizer.floor,
      });
      const gradient = gradients[gradName(feed)];
      if (latentsName(feed) !== feed) {
        const arrays = { latents: values, signs: this.feeds[feed], first, second };
        await latentSteps.step(arrays, gradient, scalars(rates[0]));
        continue;
      }
      const length = values.length / rates.length;
      rates.forEach((rate, vector) => {
        const part = (array: Float32Array) => array.subarray(vector * length, (vector + 1) * length);
        plainStep(part(values), part(first), part(second), part(gradient), scalars(rate));
      });
    }
  }

  /** Everything that a snapshot needs, by name; shares memory with the trainer. */
  snapshotArrays(): Map<string, Float32Array> {
    const arrays = new Map<string, Float32Array>();
    for (const { name, values, first, second } of this.#parameters) {
      arrays.set(name, values);
      arrays.set(`${name}.first`, first);
      arrays.set(`${name}.second`, second);
    }
    return arrays;
  }

  /** Goes on after `steps` steps: the arrays of `snapshotArrays` were set from outside. */
  resume(steps: number): void {
    this.#steps = steps;
    this.refreshSigns();
  }

  /** Signs from latents, after these were set from outside. */
  refreshSigns(): void {
    for (const [name, array] of blockArrays(this.state)) {
      if (signsName(name) !== name) writeSigns(array, this.feeds[signsName(name)]);
    }
  }

  /** Reusable arrays for the gradients of a program, by output name. */
  static gradientBuffers(program: Program): Results {
    const buffers: Results = {};
    for (const [name, { shape }] of program.outputs) {
      if (name.startsWith("grad.")) buffers[name] = new Float32Array(shape.reduce((size, n) => size * n, 1));
    }
    return buffers;
  }
}

/** The rows of [l, n] scales; a plain vector is one of them. */
function split(values: Float32Array, shape: readonly number[]): Float32Array[] {
  const length = shape.at(-1)!;
  return Array.from({ length: values.length / length }, (_, vector) =>
    values.subarray(vector * length, (vector + 1) * length),
  );
}
