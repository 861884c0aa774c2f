/** Weights of a model as feeds: one block, or the two ends. */
import { LINEAR_ROLES, type LinearRole, type Model, tableValues } from "@subbit/core";
import { formOf, linearFeeds, type WeightFeeds } from "./feeds.js";
import type { BlockForms, LinearForm } from "./forms.js";

export interface LoadedBlock {
  readonly forms: BlockForms;
  readonly feeds: WeightFeeds;
}

/** Reads the weights of block `layer`; about 4 bytes per weight. */
export async function loadBlock(model: Model, layer: number): Promise<LoadedBlock> {
  const feeds: WeightFeeds = {};
  for (const role of ["attention-norm", "mlp-norm"] as const) {
    Object.assign(feeds, namedNorm(role, await model.norm({ layer, role })));
  }
  const forms: Partial<Record<LinearRole, LinearForm>> = {};
  for (const role of LINEAR_ROLES) {
    const linear = await model.linear({ layer, role });
    forms[role] = formOf(linear);
    Object.assign(feeds, linearFeeds(role, linear));
  }
  return { forms: forms as BlockForms, feeds };
}

/** `final-norm.weight` (and bias) and `head.weight`, as head programs take them. */
export async function loadHead(model: Model): Promise<WeightFeeds> {
  const norm = namedNorm("final-norm", await model.norm({ role: "final-norm" }));
  return { ...norm, "head.weight": tableValues(await model.head()) };
}

function namedNorm(role: string, norm: { weight: Float32Array; bias?: Float32Array }): WeightFeeds {
  return { [`${role}.weight`]: norm.weight, ...(norm.bias && { [`${role}.bias`]: norm.bias }) };
}
