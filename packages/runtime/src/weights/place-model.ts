/** A model's weights in the arena, beside its KV cache and rotary tables. */
import {
  SubbitError,
  holdsStoredTensors,
  linearSites,
  normSites,
  throwIfAborted,
  type LinearSite,
  type Model,
  type ModelSpec,
  type NormSite,
  type OnProgress,
  type Projection,
} from "@subbit/core";
import type { KvBits } from "../kv-layout.js";
import type { PlacedModel } from "../program/placed-model.js";
import type { Arena } from "./arena.js";
import { Filler } from "./filler.js";
import { placeAttention, type RopeSwitch } from "./place-cache.js";
import { StoredPlacer } from "./place-stored.js";
import {
  placeDense,
  placeEmbedding,
  placeHead,
  placeLinear,
  placeNorm,
  type PlacedDense,
  type PlacedEmbedding,
  type PlacedLinear,
  type PlacedNorm,
  type PlacedTable,
} from "./place.js";

export interface PlaceOptions {
  /** Positions of the KV cache, a multiple of KEY_BLOCK. */
  readonly capacity: number;
  readonly kvBits: KvBits;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PlacedWeights {
  readonly model: PlacedModel;
  readonly embedding: PlacedEmbedding;
  readonly head: PlacedTable;
  /** Brings the weights to their places; absent where they are there already. */
  readonly filler: Filler | undefined;
  /** Rotary tables that depend on how long a text is. */
  readonly ropeSwitches: readonly RopeSwitch[];
}

/**
 * Plans the memory of a model. Weights that lie in files as tensors are left to `filler`; those of any other model are read
 * here, one after the other.
 */
export async function placeModel(arena: Arena, model: Model, options: PlaceOptions): Promise<PlacedWeights> {
  const { spec } = model;
  const { capacity, kvBits } = options;
  throwIfAborted(options.signal);
  const filler = holdsStoredTensors(model) ? new Filler(arena) : undefined;
  const { linears, norms, embedding, head, ends } =
    filler === undefined
      ? await readWeights(arena, model, options)
      : planWeights(new StoredPlacer(arena, filler, model), spec);

  const { layers, angles, switches } = placeAttention(arena, spec, capacity, kvBits);
  return {
    model: {
      linear: (site: LinearSite) => get(linears, `${site.layer} ${site.role}`),
      norm: (site: NormSite) =>
        get(norms, site.role === "final-norm" ? site.role : `${site.layer} ${site.role}`),
      attention: (layer) => layers[layer],
      angles: (rope) => get(angles, rope),
      positions: () => get(ends, "positions"),
      projection: (end) => get(ends, end),
    },
    embedding,
    head,
    filler,
    ropeSwitches: switches,
  };
}

interface Weights {
  /** By `layer role`. */
  readonly linears: ReadonlyMap<string, PlacedLinear>;
  readonly norms: ReadonlyMap<string, PlacedNorm>;
  readonly embedding: PlacedEmbedding;
  readonly head: PlacedTable;
  /** Learned positions and projections, where there are any. */
  readonly ends: ReadonlyMap<"positions" | Projection, PlacedDense>;
}

async function readWeights(arena: Arena, model: Model, options: PlaceOptions): Promise<Weights> {
  const { spec } = model;
  const { signal, onProgress } = options;
  const linears = new Map<string, PlacedLinear>();
  const norms = new Map<string, PlacedNorm>();
  const total = spec.layers + 1;
  const report = (done: number): void => onProgress?.({ stage: "load", done, total, unit: "blocks" });
  report(0);
  const embedding = placeEmbedding(arena, await model.embedding());
  const head = spec.tiedHead ? embedding : placeHead(arena, await model.head());
  const ends = new Map<"positions" | Projection, PlacedDense>();
  if (model.positions !== undefined) ends.set("positions", placeDense(arena, await model.positions()));
  for (const end of model.projection === undefined ? [] : (["in", "out"] as const)) {
    ends.set(end, placeDense(arena, await model.projection!(end)));
  }
  if (spec.ends.finalNorm) {
    norms.set("final-norm", placeNorm(arena, await model.norm({ role: "final-norm" })));
  }
  report(1);
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of spec.linears) {
      throwIfAborted(signal);
      linears.set(`${layer} ${role}`, placeLinear(arena, await model.linear({ layer, role })));
    }
    for (const role of spec.norms) {
      norms.set(`${layer} ${role}`, placeNorm(arena, await model.norm({ layer, role })));
    }
    report(layer + 2);
  }
  throwIfAborted(signal);
  return { linears, norms, embedding, head, ends };
}

function planWeights(placer: StoredPlacer, spec: ModelSpec): Weights {
  const linears = new Map<string, PlacedLinear>();
  const norms = new Map<string, PlacedNorm>();
  const embedding = placer.embedding();
  const head = spec.tiedHead ? embedding : placer.head();
  for (const site of linearSites(spec)) linears.set(`${site.layer} ${site.role}`, placer.linear(site));
  for (const site of normSites(spec)) {
    norms.set(site.role === "final-norm" ? site.role : `${site.layer} ${site.role}`, placer.norm(site));
  }
  return { linears, norms, embedding, head, ends: placer.ends() };
}

function get<K, T>(map: ReadonlyMap<K, T>, key: K): T {
  const value = map.get(key);
  if (value === undefined)
    throw new SubbitError("internal", `Nothing was placed for ${JSON.stringify(key)}.`);
  return value;
}
