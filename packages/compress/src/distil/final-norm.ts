/** The weight of the final norm under training. */
import { plainStep } from "../optimise/latent-step.js";
import { PlainMoment } from "../optimise/moments.js";
import { rateUnit } from "../student/parameters.js";
import type { DistilRecipe } from "../train-recipe.js";

export class FinalNormTrainer {
  readonly weight: Float32Array;
  readonly #rate: number;
  readonly #recipe: DistilRecipe;
  readonly #first: PlainMoment;
  readonly #second: PlainMoment;

  constructor(weight: Float32Array, recipe: DistilRecipe) {
    this.weight = weight;
    this.#recipe = recipe;
    this.#rate = recipe.rates.norms * rateUnit(recipe.ratesAre, weight);
    this.#first = new PlainMoment(weight.length);
    this.#second = new PlainMoment(weight.length);
  }

  get trains(): boolean {
    return this.#rate > 0;
  }

  /** One Adam step; `time` counts them from 1. */
  apply(gradient: Float32Array, factor: number, gradientScale: number, time: number): void {
    if (!this.trains) return;
    const { beta1, beta2, epsilon } = this.#recipe;
    plainStep(this.weight, this.#first.open(), this.#second.open(), gradient, {
      beta1,
      beta2,
      rate: this.#rate * factor,
      time,
      floor: 0,
      epsilon,
      keep: 1,
      gradientScale,
    });
  }

  snapshotArrays(): readonly (readonly [string, Float32Array])[] {
    return [
      ["final-norm.weight", this.weight],
      ["final-norm.weight.first", this.#first.open()],
      ["final-norm.weight.second", this.#second.open()],
    ];
  }
}
