/** The arrays of a block that an optimizer moves, how far, and what it keeps beside them. */
import type { ModelSpec } from "@subbit/core";
import { blockFeeds, type BlockForms, type FeedKind } from "@subbit/engine";
import { CodedMoment, mix, type Moment, PlainMoment, Scratch } from "../optimise/moments.js";
import type { DistilRecipe } from "../train-recipe.js";
import { latentsName } from "./feeds.js";
import { meanMagnitude } from "./latents.js";
import { type BlockState, blockArrays } from "./state.js";

/** Step sizes; a rate of 0 freezes the group. */
export interface TrainerRates {
  /** Of latents: as it stands where they have unit mean magnitude. */
  readonly latents: number;
  readonly scales: number;
  readonly norms: number;
  readonly weights: number;
}

export interface TrainerOptions {
  readonly rates: TrainerRates;
  /** Unit of the rates; see `DistilRecipe`. @default "relative" */
  readonly ratesAre?: DistilRecipe["ratesAre"];
  /** Whether latents have unit mean magnitude. @default "unit" */
  readonly latents?: DistilRecipe["latents"];
  /** Arrays that the optimizer of latents keeps for each, and whether only while they are exposed. @default 2, always */
  readonly moments?: { readonly count: number; readonly exposedOnly: boolean };
  /** Bits of a stored moment of a latent. @default 32 */
  readonly optimizerBits?: DistilRecipe["optimizerBits"];
  /** Of coded moments; all blocks may share one. @default its own */
  readonly scratch?: Scratch;
  /** Tells this block's chances from those of others. @default 0 */
  readonly seed?: number;
}

export interface Parameter {
  /** Name of the feed whose gradient moves it. */
  readonly feed: string;
  /** Name of the state's array. */
  readonly name: string;
  readonly kind: FeedKind;
  readonly values: Float32Array;
  /** Of the whole array; latents only. */
  readonly rows: number;
  readonly cols: number;
  /** Step size of each vector that the values are made of, one after another: one, or l of an envelope. */
  readonly rates: readonly number[];
  /** The group's rate as it was given: what a weight decay counts in. */
  readonly share: number;
  /** Empty while it does not train. */
  moments: readonly Moment[];
  readonly salt: number;
}

/** Moments of arrays that move by plain Adam. */
const ADAM_MOMENTS = 2;

/** The parameters of a block whose rate is above 0, in the order of its feeds. */
export function blockParameters(
  spec: ModelSpec,
  state: BlockState,
  forms: BlockForms,
  options: TrainerOptions,
): Parameter[] {
  const { rates, seed = 0, moments } = options;
  const arrays = blockArrays(state);
  const rateOf = {
    signs: rates.latents,
    scales: rates.scales,
    norm: rates.norms,
    weight: rates.weights,
    bias: 0,
  };
  return blockFeeds(spec, forms)
    .filter((feed) => rateOf[feed.kind] > 0)
    .map((feed, index): Parameter => {
      const { kind, shape } = feed;
      const name = kind === "signs" ? latentsName(feed.name) : feed.name;
      const values = arrays.get(name)!;
      const vectors = kind === "scales" ? split(values, shape) : [values];
      const parameter: Parameter = {
        feed: feed.name,
        name,
        kind,
        values,
        rows: shape[0],
        cols: values.length / shape[0],
        rates: vectors.map((vector) => rateOf[kind] * unitOf(kind, vector, options)),
        share: rateOf[kind],
        moments: [],
        salt: mix(seed, index),
      };
      if (kind !== "signs" || moments?.exposedOnly !== true)
        parameter.moments = newMoments(parameter, options);
      return parameter;
    });
}

/** Zero moments for a parameter. */
export function newMoments(
  { kind, values: { length }, salt }: Parameter,
  { moments, optimizerBits = 32, scratch = new Scratch() }: TrainerOptions,
): readonly Moment[] {
  const count = kind === "signs" && moments ? moments.count : ADAM_MOMENTS;
  const coded = kind === "signs" && optimizerBits === 8;
  return Array.from({ length: count }, (_, slot) =>
    coded
      ? new CodedMoment(length, { signed: slot === 0, scratch, slot, salt: mix(salt, slot) })
      : new PlainMoment(length),
  );
}

/** What a rate of 1 stands for. */
function unitOf(kind: FeedKind, vector: Float32Array, options: TrainerOptions): number {
  const { ratesAre = "relative", latents = "unit" } = options;
  return kind === "signs" && latents === "unit" ? 1 : rateUnit(ratesAre, vector);
}

/** The step size that a rate of 1 stands for. */
export function rateUnit(ratesAre: DistilRecipe["ratesAre"], vector: Float32Array): number {
  if (ratesAre === "absolute") return 1;
  return ratesAre === "norm" ? euclidean(vector) : meanMagnitude(vector);
}

function euclidean(vector: Float32Array): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
}

/** The rows of [l, n] scales; a plain vector is one of them. */
function split(values: Float32Array, shape: readonly number[]): Float32Array[] {
  const length = shape.at(-1)!;
  return Array.from({ length: values.length / length }, (_, vector) =>
    values.subarray(vector * length, (vector + 1) * length),
  );
}
