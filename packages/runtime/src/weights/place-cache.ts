/** Room for the KV cache, and what attention instructions share: shapes and rotary tables. */
import type { ModelSpec, RopeSpec } from "@subbit/core";
import {
  SHAPE_BYTES,
  SH_CAPACITY,
  SH_COS,
  SH_COUNTERS,
  SH_HEADS,
  SH_HEAD_DIM,
  SH_KV_BITS,
  SH_KV_HEADS,
  SH_ROTARY,
  SH_SCALE,
  SH_SIN,
  SH_SOFTCAP,
  SH_WINDOW,
} from "../abi.js";
import { kvLayerBytes, type KvBits } from "../kv-layout.js";
import type { PlacedAngles, PlacedAttention } from "../program/placed-model.js";
import type { Arena } from "./arena.js";

/** Two sets of rotary tables, of which the length of a text decides (longrope): `shape` names the one in use. */
export interface RopeSwitch {
  readonly shape: number;
  /** Texts of more tokens than this use `long`. */
  readonly above: number;
  readonly short: PlacedAngles;
  readonly long: PlacedAngles;
}

export interface PlacedLayers {
  readonly layers: readonly PlacedAttention[];
  readonly angles: ReadonlyMap<RopeSpec, PlacedAngles>;
  readonly switches: readonly RopeSwitch[];
}

/**
 * Of every layer. The cache itself is not touched, so that only positions in use take memory.
 *
 * @param capacity positions, a multiple of KEY_BLOCK
 */
export function placeAttention(arena: Arena, spec: ModelSpec, capacity: number, bits: KvBits): PlacedLayers {
  const { kvHeads, headDim } = spec.attention;
  const angles = new Map<RopeSpec, PlacedAngles>();
  const switches: RopeSwitch[] = [];
  const place = (inverse: Float64Array, factor: number): PlacedAngles => {
    const [cos, sin] = [Math.cos, Math.sin].map((turn) =>
      placeAngles(arena, inverse, capacity, (angle) => turn(angle) * factor),
    );
    return { cos, sin };
  };
  const shapes = spec.layerKinds.map(({ rope, window }) => {
    const short = rope && (angles.get(rope) ?? place(rope.inverseFrequencies, rope.factor));
    if (rope !== undefined && short !== undefined) angles.set(rope, short);
    const shape = placeShape(arena, spec, { capacity, bits, window, rope, angles: short });
    // Texts never get longer than the cache.
    if (rope?.long !== undefined && short !== undefined && rope.long.above < capacity) {
      const { above, inverseFrequencies } = rope.long;
      switches.push({ shape, above, short, long: place(inverseFrequencies, rope.factor) });
    }
    return shape;
  });
  const bytes = kvLayerBytes(bits, kvHeads, headDim, capacity);
  const layers = spec.kindOfLayer.map((kind) => ({
    shape: shapes[kind],
    keys: arena.allocate(bytes),
    values: arena.allocate(bytes),
  }));
  return { layers, angles, switches };
}

interface ShapeOptions {
  readonly capacity: number;
  readonly bits: KvBits;
  readonly window: number | undefined;
  readonly rope: RopeSpec | undefined;
  readonly angles: PlacedAngles | undefined;
}

function placeShape(arena: Arena, { attention }: ModelSpec, options: ShapeOptions): number {
  const { heads, kvHeads, headDim, scale, softcap } = attention;
  const { capacity, bits, window, rope, angles } = options;
  const counters = arena.allocate(kvHeads * 4);
  const shape = arena.allocate(SHAPE_BYTES);
  const words = new Uint32Array(arena.memory.buffer, shape, SHAPE_BYTES / 4);
  const reals = arena.floats(shape, SHAPE_BYTES / 4);
  words[SH_HEADS] = heads;
  words[SH_KV_HEADS] = kvHeads;
  words[SH_HEAD_DIM] = headDim;
  words[SH_ROTARY] = (rope?.inverseFrequencies.length ?? 0) * 2;
  words[SH_CAPACITY] = capacity;
  reals[SH_SCALE] = softcap === undefined ? scale * Math.LOG2E : scale / softcap;
  words[SH_COS] = angles?.cos ?? 0;
  words[SH_SIN] = angles?.sin ?? 0;
  words[SH_KV_BITS] = bits;
  words[SH_COUNTERS] = counters;
  words[SH_WINDOW] = window ?? 0;
  reals[SH_SOFTCAP] = (softcap ?? 0) * Math.LOG2E;
  return shape;
}

/** [capacity, features / 2] */
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
