/** Rotary embedding, the KV cache and attention as instructions. */
import type { AttentionSpec, RopeSpec } from "@subbit/core";
import { SubbitError } from "@subbit/core";
import {
  A_CAPACITY,
  A_HEADS,
  A_HEAD_DIM,
  A_KEYS,
  A_KV_HEADS,
  A_SCALE,
  A_VALUES,
  H_AT_POSITION,
  H_COS,
  H_HEADS,
  H_HEAD_DIM,
  H_HEAD_STRIDE,
  H_SIN,
  H_TOKEN_STRIDE,
  OP_ATTENTION,
  OP_HEADS,
  W_DST,
  W_SRC,
  W_SRC_STRIDE,
} from "../../abi.js";
import { pad } from "../../weights/place.js";
import { strideOf, type Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import type { PlacedModel } from "../placed-model.js";
import { between } from "./rows.js";

export function emitRope(
  emitter: Emitter,
  model: PlacedModel,
  x: Value,
  heads: number,
  headDim: number,
  spec: RopeSpec,
): Value {
  const covered = spec.inverseFrequencies.length * 2;
  if (covered !== headDim) {
    throw new SubbitError("internal", `Rotary tables for ${covered} met heads of ${headDim}.`);
  }
  const y = emitter.like(x);
  emitter.emit(OP_HEADS, [x], [y], {
    [W_SRC]: x,
    [W_SRC_STRIDE]: strideOf(x),
    [W_DST]: y,
    [H_HEADS]: heads,
    [H_HEAD_DIM]: headDim,
    [H_TOKEN_STRIDE]: strideOf(y),
    [H_HEAD_STRIDE]: headDim,
    [H_COS]: model.cos,
    [H_SIN]: model.sin,
  });
  return y;
}

export function emitAttention(
  emitter: Emitter,
  model: PlacedModel,
  tensors: { q: Value; k: Value; v: Value },
  spec: AttentionSpec,
  layer: number,
): Value {
  const { q, k, v } = tensors;
  const { heads, kvHeads, headDim, scale } = spec;
  const keys = emitter.fixed(model.cache(layer, "keys"));
  const values = emitter.fixed(model.cache(layer, "values"));
  intoCache(emitter, model, k, keys, kvHeads, headDim);
  intoCache(emitter, model, v, values, kvHeads, headDim);
  const y = emitter.rows(heads * headDim);
  emitter.emit(OP_ATTENTION, [q, keys, values], [y], {
    ...between(q, y),
    [A_KEYS]: keys,
    [A_VALUES]: values,
    [A_HEADS]: heads,
    [A_KV_HEADS]: kvHeads,
    [A_HEAD_DIM]: headDim,
    [A_CAPACITY]: model.capacity,
    [A_SCALE]: { real: scale },
  });
  return y;
}

/** Rotated keys go to the cache directly; anything else is copied. */
function intoCache(
  emitter: Emitter,
  model: PlacedModel,
  x: Value,
  cache: Value,
  heads: number,
  headDim: number,
): void {
  const rowFloats = pad(headDim, 4);
  const place = {
    [W_DST]: cache,
    [H_TOKEN_STRIDE]: rowFloats,
    [H_HEAD_STRIDE]: model.capacity * rowFloats,
    [H_AT_POSITION]: 1,
  };
  const producer = emitter.producerOf(x);
  if (producer?.op === OP_HEADS && !emitter.isRead(x)) {
    Object.assign(producer.operands, place);
    producer.writes = [cache];
    return;
  }
  emitter.emit(OP_HEADS, [x], [cache], {
    [W_SRC]: x,
    [W_SRC_STRIDE]: strideOf(x),
    [H_HEADS]: heads,
    [H_HEAD_DIM]: headDim,
    ...place,
  });
}
