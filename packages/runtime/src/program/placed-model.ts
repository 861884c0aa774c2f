/** Everything of a model that lies in memory before its programs are made. */
import type { LinearSite, NormSite } from "@subbit/core";
import type { PlacedLinear, PlacedNorm } from "../weights/place.js";

export interface PlacedModel {
  linear(site: LinearSite): PlacedLinear;
  norm(site: NormSite): PlacedNorm;
  /** Keys or values of a layer: f32 [kvHeads, capacity, headDim padded to 4]. */
  cache(layer: number, kind: "keys" | "values"): number;
  readonly capacity: number;
  /** f32 [capacity, headDim / 2] */
  readonly cos: number;
  readonly sin: number;
}
