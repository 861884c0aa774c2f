/** Weights of @subbit/core as feeds of block programs, and the form they have. */
import { denseValues, unpackSigns, type FactoredPath, type Linear, type LinearRole } from "@subbit/core";
import { graphError } from "../graph/shapes.js";
import type { LinearForm } from "./forms.js";

/** Feeds by name; the arrays belong to the caller and may be updated between runs. */
export type WeightFeeds = Record<string, Float32Array>;

/** The form a linear has. Its paths must agree on the middle scale and the envelope rank. */
export function formOf(linear: Linear): LinearForm {
  if (linear.kind === "dense") return { kind: "dense" };
  const [first] = linear.paths;
  if (!first) throw graphError("A factored linear without paths has no form.");
  for (const path of linear.paths) {
    if (path.envelope !== first.envelope || (path.midIn === undefined) !== (first.midIn === undefined)) {
      throw graphError("The paths of a factored linear differ in their envelope or middle scale.");
    }
  }
  return {
    kind: "factored",
    ranks: linear.paths.map((path) => path.rank),
    mid: first.midIn !== undefined,
    ...(first.envelope > 1 && { envelope: first.envelope }),
  };
}

/** The feeds of one linear (see `blockFeeds`): signs unpacked to +1 and -1, everything else as f32. */
export function linearFeeds(role: LinearRole, linear: Linear): WeightFeeds {
  const feeds: WeightFeeds = {};
  if (linear.kind === "dense") feeds[`${role}.weight`] = denseValues(linear);
  else linear.paths.forEach((path, index) => Object.assign(feeds, pathFeeds(`${role}.paths.${index}`, path)));
  if (linear.bias) feeds[`${role}.bias`] = linear.bias;
  return feeds;
}

function pathFeeds(prefix: string, path: FactoredPath): WeightFeeds {
  return {
    [`${prefix}.outSigns`]: unpackSigns(path.outSigns),
    [`${prefix}.inSigns`]: unpackSigns(path.inSigns),
    [`${prefix}.outScales`]: path.outScales,
    [`${prefix}.inScales`]: path.inScales,
    ...(path.midIn && { [`${prefix}.midScales`]: path.midIn }),
    ...(path.envelope > 1 &&
      path.midIn && {
        [`${prefix}.midOutScales`]: path.midOut ?? new Float32Array(path.envelope * path.rank).fill(1),
      }),
  };
}
