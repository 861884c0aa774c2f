/** Everything of a model that lies in memory before its programs are made. */
import type { LinearSite, NormSite, Projection, RopeSpec } from "@subbit/core";
import type { PlacedDense, PlacedLinear, PlacedNorm } from "../weights/place.js";

/** Byte addresses of what attention of a layer needs; layouts are said at OP_ATTENTION in abi.ts. */
export interface PlacedAttention {
  readonly shape: number;
  readonly keys: number;
  readonly values: number;
}

/** Byte addresses of f32 [capacity, rotated features / 2]. */
export interface PlacedAngles {
  readonly cos: number;
  readonly sin: number;
}

export interface PlacedModel {
  linear(site: LinearSite): PlacedLinear;
  norm(site: NormSite): PlacedNorm;
  attention(layer: number): PlacedAttention;
  angles(rope: RopeSpec): PlacedAngles;
  /** Throws where the model has none. */
  positions(): PlacedDense;
  projection(end: Projection): PlacedDense;
}
