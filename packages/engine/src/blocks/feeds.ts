/** Weights of @subbit/core as feeds of block programs, and the form they have. */
import { denseValues, unpackSigns, type FactoredPath, type Linear, type LinearRole } from "@subbit/core";
import { graphError } from "../graph/shapes.js";
import type { LinearForm } from "./forms.js";

/** Feeds by name; the arrays belong to the caller and may be updated between runs. */
export type WeightFeeds = Record<string, Float32Array>;

/** The form a linear has. Its paths must agree on the middle scale and the envelope rank; ranks are their own. */
export function formOf(linear: Linear): LinearForm {
  if (linear.kind !== "factored") return { kind: linear.kind };
  const [first] = linear.paths;
  if (!first) throw graphError("A factored linear without paths has no form.");
  for (const path of linear.paths) {
    if (path.envelope !== first.envelope || hasMiddle(path) !== hasMiddle(first)) {
      throw graphError("The paths of a factored linear differ in their envelope or middle scale.");
    }
  }
  return {
    kind: "factored",
    ranks: linear.paths.map((path) => path.rank),
    mid: hasMiddle(first),
    ...(first.envelope > 1 && { envelope: first.envelope }),
  };
}

/** The feeds of one linear (see `blockFeeds`): signs unpacked to +1 and -1, everything else as f32. */
export function linearFeeds(role: LinearRole, linear: Linear): WeightFeeds {
  const feeds: WeightFeeds = {};
  if (linear.kind === "dense") feeds[`${role}.weight`] = denseValues(linear);
  else if (linear.kind === "onebit") {
    feeds[`${role}.fullSigns`] = unpackSigns(linear.signs);
    feeds[`${role}.outScales`] = linear.outScales;
    feeds[`${role}.inScales`] = linear.inScales;
  } else
    linear.paths.forEach((path, index) => Object.assign(feeds, pathFeeds(`${role}.paths.${index}`, path)));
  if (linear.bias) feeds[`${role}.bias`] = linear.bias;
  return feeds;
}

/** Whether a path stores a middle scale on either side; the one that is absent is all ones. */
function hasMiddle({ midIn, midOut }: FactoredPath): boolean {
  return midIn !== undefined || midOut !== undefined;
}

function pathFeeds(prefix: string, path: FactoredPath): WeightFeeds {
  const ones = (): Float32Array => new Float32Array(path.envelope * path.rank).fill(1);
  return {
    [`${prefix}.outSigns`]: unpackSigns(path.outSigns),
    [`${prefix}.inSigns`]: unpackSigns(path.inSigns),
    [`${prefix}.outScales`]: path.outScales,
    [`${prefix}.inScales`]: path.inScales,
    ...(hasMiddle(path) && { [`${prefix}.midScales`]: path.midIn ?? ones() }),
    ...(hasMiddle(path) && path.envelope > 1 && { [`${prefix}.midOutScales`]: path.midOut ?? ones() }),
  };
}
