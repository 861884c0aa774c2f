/** Weights of a model as feeds: one block, or the two ends. */
import { denseValues, type LinearRole, type Model, tableValues } from "@subbit/core";
import { formOf, linearFeeds, type WeightFeeds } from "./feeds.js";
import type { BlockForms, LinearForm } from "./forms.js";
import { projectionFeed } from "./graph-ops.js";

export interface LoadedBlock {
  readonly forms: BlockForms;
  readonly feeds: WeightFeeds;
}

/** Reads the weights of block `layer`; about 4 bytes per weight. */
export async function loadBlock(model: Model, layer: number): Promise<LoadedBlock> {
  const feeds: WeightFeeds = {};
  for (const role of model.spec.norms) {
    Object.assign(feeds, namedNorm(role, await model.norm({ layer, role })));
  }
  const forms: Partial<Record<LinearRole, LinearForm>> = {};
  for (const role of model.spec.linears) {
    const linear = await model.linear({ layer, role });
    forms[role] = formOf(linear);
    Object.assign(feeds, linearFeeds(role, linear));
  }
  return { forms: forms as BlockForms, feeds };
}

/** `head.weight`, and `final-norm.weight` (and bias) and `projection-out.weight` where there are any, as head programs take them. */
export async function loadHead(model: Model): Promise<WeightFeeds> {
  const feeds: WeightFeeds = { "head.weight": tableValues(await model.head()) };
  if (model.spec.ends.finalNorm) {
    Object.assign(feeds, namedNorm("final-norm", await model.norm({ role: "final-norm" })));
  }
  if (model.projection !== undefined)
    feeds[projectionFeed("out")] = denseValues(await model.projection("out"));
  return feeds;
}

function namedNorm(role: string, norm: { weight: Float32Array; bias?: Float32Array }): WeightFeeds {
  return { [`${role}.weight`]: norm.weight, ...(norm.bias && { [`${role}.bias`]: norm.bias }) };
}
