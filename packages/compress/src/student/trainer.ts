/**
 * A block under training: its arrays as feeds, and an optimizer's state for the part that is trained. Signs move through
 * their latents; scales, norms and dense weights by Adam, by default in steps relative to their own mean magnitude.
 */
import type { LinearRole, ModelSpec } from "@subbit/core";
import { type BlockForms, gradName, type Program, type Results, type WeightFeeds } from "@subbit/engine";
import { plainStep } from "../optimise/latent-step.js";
import type { LatentStepper, StepScalars } from "../optimise/latent-stepper.js";
import type { SurrogateSteps } from "../optimise/surrogate-step.js";
import { NO_EPSILON } from "../train-recipe.js";
import { blockForms, signsName, stateFeeds, writeSigns } from "./feeds.js";
import { blockParameters, newMoments, type Parameter, type TrainerOptions } from "./parameters.js";
import { type BlockState, blockArrays } from "./state.js";

export interface OptimizerSettings {
  readonly beta1: number;
  readonly beta2: number;
  /** See `StepScalars`; of latents only. */
  readonly floor: number;
  /** @default 1e-20 */
  readonly epsilon?: number;
  /** Decoupled, of latents and scales, per unit of their rate. @default 0 */
  readonly weightDecay?: number;
}

/** What changes from step to step. */
export interface StepFactors {
  /** The schedule's. */
  readonly rate: number;
  /** Multiplies all gradients. @default 1 */
  readonly gradient?: number;
}

export class BlockTrainer {
  readonly state: BlockState;
  readonly forms: BlockForms;
  readonly feeds: WeightFeeds;
  readonly #options: TrainerOptions;
  readonly #parameters: readonly Parameter[];
  #trainable: readonly string[] = [];
  #steps = 0;
  /** Steps done when the parameters of signs were last exposed. */
  #exposedAt = 0;

  constructor(spec: ModelSpec, state: BlockState, options: TrainerOptions) {
    this.state = state;
    this.forms = blockForms(state);
    this.feeds = stateFeeds(state);
    this.#options = options;
    this.#parameters = blockParameters(spec, state, this.forms, options);
    this.#activate();
  }

  /** Feeds whose gradients `apply` wants. */
  get trainable(): readonly string[] {
    return this.#trainable;
  }

  /** Lets the signs of one linear train, with a state that starts anew, and those of no other. */
  expose(role: LinearRole | undefined): void {
    for (const parameter of this.#parameters) {
      if (parameter.kind !== "signs") continue;
      const exposed = role !== undefined && parameter.feed.startsWith(`${role}.`);
      parameter.moments = exposed ? newMoments(parameter, this.#options) : [];
    }
    this.#exposedAt = this.#steps;
    this.#activate();
  }

  /**
   * Turns gradients of signs into gradients of latents, in place, where there is a surrogate; the sum of the squares of
   * all gradients that `apply` will use.
   */
  async collect(gradients: Results, surrogate: SurrogateSteps | undefined): Promise<number> {
    let sum = 0;
    for (const { feed, kind, values } of this.#active()) {
      const gradient = gradients[gradName(feed)];
      if (kind === "signs" && surrogate) sum += await surrogate.through(values, gradient);
      else sum += gradient.reduce((squares, value) => squares + value * value, 0);
    }
    return sum;
  }

  /** One optimizer step from the results of a `backward` or `tune` program. */
  async apply(
    gradients: Results,
    factors: StepFactors,
    optimizer: OptimizerSettings,
    stepper: LatentStepper,
  ): Promise<void> {
    this.#steps++;
    for (const parameter of this.#active()) {
      const gradient = gradients[gradName(parameter.feed)];
      const moments = parameter.moments.map((moment) => moment.open());
      if (parameter.kind === "signs") {
        const { values: latents, rows, cols, salt, rates, feed } = parameter;
        const arrays = { latents, signs: this.feeds[feed], moments, rows, cols, salt };
        await stepper.step(arrays, gradient, this.#scalars(parameter, rates[0], factors, optimizer));
      } else this.#plain(parameter, moments, gradient, factors, optimizer);
      for (const moment of parameter.moments) moment.close(this.#steps);
    }
  }

  /** What is trained, by the names of the state's arrays. */
  values(): Map<string, Float32Array> {
    return new Map(this.#parameters.map(({ name, values }) => [name, values]));
  }

  /** Everything that a snapshot needs, by name; shares memory with the trainer. */
  snapshotArrays(): Map<string, Float32Array | Uint8Array> {
    const arrays = new Map<string, Float32Array | Uint8Array>();
    for (const { name, values, moments } of this.#parameters) {
      arrays.set(name, values);
      for (const [index, moment] of moments.entries()) {
        for (const [suffix, array] of moment.arrays)
          arrays.set(`${name}.${MOMENT_NAMES[index]}${suffix}`, array);
      }
    }
    return arrays;
  }

  /**
   * Goes on after `steps` steps: the arrays of `snapshotArrays` were set from outside.
   *
   * @param exposedAt steps done when signs were last exposed
   */
  resume(steps: number, exposedAt = 0): void {
    this.#steps = steps;
    this.#exposedAt = exposedAt;
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

  #active(): readonly Parameter[] {
    return this.#parameters.filter(({ moments }) => moments.length > 0);
  }

  #activate(): void {
    this.#trainable = this.#active().map(({ feed }) => feed);
  }

  #plain(
    parameter: Parameter,
    [first, second]: readonly Float32Array[],
    gradient: Float32Array,
    factors: StepFactors,
    optimizer: OptimizerSettings,
  ): void {
    const { values, rates } = parameter;
    const length = values.length / rates.length;
    rates.forEach((rate, vector) => {
      const part = (array: Float32Array) => array.subarray(vector * length, (vector + 1) * length);
      const scalars = this.#scalars(parameter, rate, factors, optimizer);
      plainStep(part(values), part(first), part(second), part(gradient), scalars);
    });
  }

  #scalars(
    { kind, share }: Parameter,
    rate: number,
    factors: StepFactors,
    { beta1, beta2, floor, epsilon = NO_EPSILON, weightDecay = 0 }: OptimizerSettings,
  ): StepScalars {
    const decays = kind === "signs" || kind === "scales";
    return {
      rate: rate * factors.rate,
      time: this.#steps - (kind === "signs" ? this.#exposedAt : 0),
      beta1,
      beta2,
      floor,
      epsilon,
      keep: decays ? 1 - share * factors.rate * weightDecay : 1,
      gradientScale: factors.gradient ?? 1,
    };
  }
}

/** Of a parameter's moments in a snapshot, in their order. */
const MOMENT_NAMES = ["first", "second"] as const;
