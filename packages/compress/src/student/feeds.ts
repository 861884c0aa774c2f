/** A block under training as feeds of the engine's block programs: signs as f32, everything else shared with the state. */
import type { LinearRole } from "@subbit/core";
import type { BlockForms, LinearForm, WeightFeeds } from "@subbit/engine";
import { linearArrays, type LinearState } from "./linear-state.js";
import { type BlockState, linearsOf, normsOf } from "./state.js";

/** The forms of a block, as the engine's programs want them. */
export function blockForms(block: BlockState): BlockForms {
  return Object.fromEntries(linearsOf(block).map(([role, linear]) => [role, formOf(linear)])) as Record<
    LinearRole,
    LinearForm
  >;
}

function formOf(linear: LinearState): LinearForm {
  if (linear.kind !== "factored") return { kind: linear.kind };
  const [first] = linear.paths;
  const envelope = first?.envelope ?? 1;
  return {
    kind: "factored",
    ranks: linear.paths.map((path) => path.rank),
    mid: first?.midScales !== undefined,
    ...(envelope > 1 && { envelope }),
  };
}

/** Name of the feed that holds the signs of a latent array, and the reverse. */
export function signsName(latents: string): string {
  return latents.replace(/Latents$/, "Signs");
}
export function latentsName(signs: string): string {
  return signs.replace(/Signs$/, "Latents");
}

/** +1 and -1; sgn(0) = +1. */
export function writeSigns(latents: Float32Array, signs: Float32Array): void {
  for (let i = 0; i < latents.length; i++) signs[i] = latents[i] < 0 ? -1 : 1;
}

/** Feeds of a block. Scales, norms, weights and biases are the state's own arrays; signs are made from the latents. */
export function stateFeeds(block: BlockState): WeightFeeds {
  const feeds: WeightFeeds = {};
  for (const [role, linear] of linearsOf(block)) {
    for (const [name, array] of linearArrays(linear)) {
      const isLatent = signsName(name) !== name;
      feeds[`${role}.${signsName(name)}`] = isLatent ? signsOf(array) : array;
    }
    if (linear.bias) feeds[`${role}.bias`] = linear.bias;
  }
  for (const [role, { weight, bias }] of normsOf(block)) {
    feeds[`${role}.weight`] = weight;
    if (bias) feeds[`${role}.bias`] = bias;
  }
  return feeds;
}

function signsOf(latents: Float32Array): Float32Array {
  const signs = new Float32Array(latents.length);
  writeSigns(latents, signs);
  return signs;
}
