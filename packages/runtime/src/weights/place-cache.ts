/** Room for the KV cache, and what attention instructions share: shapes and rotary tables. */
import type { ModelSpec } from "@subbit/core";
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
} from "../abi.js";
import { kvLayerBytes, type KvBits } from "../kv-layout.js";
import type { PlacedAttention } from "../program/placed-model.js";
import type { Arena } from "./arena.js";

/**
 * Of every layer. The cache itself is not touched, so that only positions in use take memory.
 *
 * @param capacity positions, a multiple of KEY_BLOCK
 */
export function placeAttention(
  arena: Arena,
  spec: ModelSpec,
  capacity: number,
  bits: KvBits,
): { layers: PlacedAttention[]; cos: number; sin: number } {
  const { heads, kvHeads, headDim, scale } = spec.attention;
  const { inverseFrequencies } = spec.rope;
  const [cos, sin] = [Math.cos, Math.sin].map((turn) =>
    placeAngles(arena, inverseFrequencies, capacity, turn),
  );
  const counters = arena.allocate(kvHeads * 4);
  const shape = arena.allocate(SHAPE_BYTES);
  const words = new Uint32Array(arena.memory.buffer, shape, SHAPE_BYTES / 4);
  words[SH_HEADS] = heads;
  words[SH_KV_HEADS] = kvHeads;
  words[SH_HEAD_DIM] = headDim;
  words[SH_ROTARY] = inverseFrequencies.length * 2;
  words[SH_CAPACITY] = capacity;
  arena.floats(shape, SHAPE_BYTES / 4)[SH_SCALE] = scale * Math.LOG2E;
  words[SH_COS] = cos;
  words[SH_SIN] = sin;
  words[SH_KV_BITS] = bits;
  words[SH_COUNTERS] = counters;
  const bytes = kvLayerBytes(bits, kvHeads, headDim, capacity);
  const layers = Array.from({ length: spec.layers }, () => ({
    shape,
    keys: arena.allocate(bytes),
    values: arena.allocate(bytes),
  }));
  return { layers, cos, sin };
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
