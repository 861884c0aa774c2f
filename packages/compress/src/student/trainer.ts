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
  readonly rate: number;
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
        const unit = feed.kind === "signs" ? 1 : meanMagnitude(values);
        return {
          feed: feed.name,
          name,
          values,
          rate: rateOf[feed.kind] * unit,
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
    for (const { feed, values, rate, first, second } of this.#parameters) {
      const scalars: AdamScalars = {
        beta1,
        beta2,
        rate: (rate * factor) / (1 - beta1 ** this.#steps),
        secondCorrection: 1 / (1 - beta2 ** this.#steps),
        floor: optimizer.floor,
      };
      const gradient = gradients[gradName(feed)];
      if (latentsName(feed) !== feed) {
        await latentSteps.step(
          { latents: values, signs: this.feeds[feed], first, second },
          gradient,
          scalars,
        );
      } else plainStep(values, first, second, gradient, scalars);
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
