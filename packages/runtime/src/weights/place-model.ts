/** Reads a model's weights one by one into the arena, beside its KV cache and rotary tables. */
import {
  LINEAR_ROLES,
  throwIfAborted,
  type LinearSite,
  type Model,
  type NormSite,
  type OnProgress,
} from "@subbit/core";
import type { PlacedModel } from "../program/placed-model.js";
import type { Arena } from "./arena.js";
import {
  pad,
  placeDense,
  placeLinear,
  placeNorm,
  type PlacedDense,
  type PlacedLinear,
  type PlacedNorm,
} from "./place.js";

export interface PlaceOptions {
  /** Positions of the KV cache, a multiple of KEY_BLOCK. */
  readonly capacity: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PlacedWeights {
  readonly model: PlacedModel;
  readonly embedding: PlacedDense;
  readonly head: PlacedDense;
}

export async function placeModel(arena: Arena, model: Model, options: PlaceOptions): Promise<PlacedWeights> {
  const { spec } = model;
  const { capacity, signal, onProgress } = options;
  const linears = new Map<string, PlacedLinear>();
  const norms = new Map<string, PlacedNorm>();
  const total = spec.layers + 1;
  const report = (done: number): void => onProgress?.({ stage: "load", done, total, unit: "blocks" });

  throwIfAborted(signal);
  report(0);
  const embedding = placeDense(arena, await model.embedding());
  const head = spec.tiedHead ? embedding : placeDense(arena, await model.head());
  norms.set("final-norm", placeNorm(arena, await model.norm({ role: "final-norm" })));
  report(1);
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of LINEAR_ROLES) {
      throwIfAborted(signal);
      linears.set(`${layer} ${role}`, placeLinear(arena, await model.linear({ layer, role })));
    }
    for (const role of ["attention-norm", "mlp-norm"] as const) {
      norms.set(`${layer} ${role}`, placeNorm(arena, await model.norm({ layer, role })));
    }
    report(layer + 2);
  }
  throwIfAborted(signal);

  const { kvHeads, headDim } = spec.attention;
  const cacheBytes = 4 * kvHeads * capacity * pad(headDim, 4);
  const caches = Array.from({ length: spec.layers }, () => ({
    keys: arena.allocate(cacheBytes),
    values: arena.allocate(cacheBytes),
  }));
  const [cos, sin] = [Math.cos, Math.sin].map((turn) =>
    placeAngles(arena, spec.rope.inverseFrequencies, capacity, turn),
  );
  return {
    model: {
      linear: (site: LinearSite) => get(linears, `${site.layer} ${site.role}`),
      norm: (site: NormSite) =>
        get(norms, site.role === "final-norm" ? site.role : `${site.layer} ${site.role}`),
      cache: (layer, kind) => caches[layer][kind],
      capacity,
      cos,
      sin,
    },
    embedding,
    head,
  };
}

function get<T>(map: ReadonlyMap<string, T>, key: string): T {
  const value = map.get(key);
  if (value === undefined) throw new RangeError(`Nothing was placed for ${key}.`);
  return value;
}

/** [capacity, headDim / 2] */
function placeAngles(
  arena: Arena,
  inverse: Float64Array,
  capacity: number,
  turn: (angle: number) => number,
): number {
  const table = new Float32Array(capacity * inverse.length);
  for (let position = 0; position < capacity; position++) {
    for (let i = 0; i < inverse.length; i++)
      table[position * inverse.length + i] = turn(position * inverse[i]);
  }
  return arena.putFloats(table, table.length);
}
