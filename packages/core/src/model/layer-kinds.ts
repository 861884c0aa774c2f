/**
 * Which layers see only a window of the text. Both forms of config.json: rules of the family over `sliding_window` and its
 * companions, and the list `layer_types` that transformers 5 writes, which wins where both are there.
 */
import { z } from "zod";
import { inputError } from "../errors.js";
import {
  LIMITS,
  booleanField,
  countField,
  parseConfig,
  showValue,
  type ModelConfig,
} from "./config-fields.js";
import type { LayerKind, ModelSpec, RopeSpec } from "./spec.js";

export type LayerKinds = Pick<ModelSpec, "layerKinds" | "kindOfLayer">;

const FULL = "full_attention";
const SLIDING = "sliding_attention";

/** Every layer is the same. */
export function uniformLayers(layers: number, kind: LayerKind): LayerKinds {
  return { layerKinds: [kind], kindOfLayer: new Array<number>(layers).fill(0) };
}

export interface WindowRule {
  readonly layers: number;
  readonly maxPositions: number;
  /** Whether the family's rule gives layer `layer` a window. */
  readonly slides: (layer: number) => boolean;
  /** Positions of the window; undefined: no layer has one. */
  readonly window: number | undefined;
}

/** Windowed layers with the rope `local`, the others with `global`. Throws `input` for a layer type it does not know. */
export function slidingLayers(
  config: ModelConfig,
  rule: WindowRule,
  ropes: { readonly local: RopeSpec; readonly global: RopeSpec },
  source: string,
): LayerKinds {
  const slides = layerTypes(config, rule.layers, source) ?? rule.slides;
  const { window, layers, maxPositions } = rule;
  const isLocal = Array.from({ length: layers }, (_, layer) => window !== undefined && slides(layer));
  // A window as wide as the context hides nothing.
  const hides = window !== undefined && window < maxPositions;
  const local: LayerKind = { rope: ropes.local, ...(hides && { window }) };
  const global: LayerKind = { rope: ropes.global };
  if (!isLocal.includes(true) || (!hides && ropes.local === ropes.global))
    return uniformLayers(layers, global);
  if (!isLocal.includes(false)) return uniformLayers(layers, local);
  return { layerKinds: [local, global], kindOfLayer: isLocal.map((each) => (each ? 0 : 1)) };
}

function layerTypes(
  config: ModelConfig,
  layers: number,
  source: string,
): ((layer: number) => boolean) | undefined {
  const types: unknown = config["layer_types"];
  if (types === undefined || types === null) return undefined;
  if (!Array.isArray(types) || types.length !== layers) {
    throw inputError(
      `The config of ${source} has layer_types = ${showValue(types)}, but it must be a list of num_hidden_layers = ${layers} layer types.`,
    );
  }
  const strange = types.findIndex((type) => type !== FULL && type !== SLIDING);
  if (strange >= 0) {
    throw inputError(
      `The config of ${source} has layer_types[${strange}] = ${showValue(types[strange])}, which is not supported; layers are ${FULL} or ${SLIDING}.`,
    );
  }
  return (layer) => types[layer] === SLIDING;
}

const switchedFields = z.object({
  use_sliding_window: booleanField().default(false),
  sliding_window: countField(LIMITS.positions).nullish(),
  max_window_layers: z
    .number({ error: "a number" })
    .int({ error: "an integer" })
    .min(0, { error: "0 or more" })
    .default(28),
});

/** The rule of Qwen2 and Qwen3: where `use_sliding_window` is on, layers from `max_window_layers` on have the window. */
export function switchedWindow(
  config: ModelConfig,
  layers: number,
  maxPositions: number,
  source: string,
): WindowRule {
  const fields = parseConfig(switchedFields, config, source);
  return {
    layers,
    maxPositions,
    slides: (layer) => layer >= fields.max_window_layers,
    window: fields.use_sliding_window ? (fields.sliding_window ?? undefined) : undefined,
  };
}
