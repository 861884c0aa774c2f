/** Rotary embedding, the KV cache and attention as instructions. */
import { SubbitError, type AttentionSpec, type RopeSpec } from "@subbit/core";
import {
  A_KEYS,
  A_NEW_KEYS,
  A_NEW_STRIDE,
  A_NEW_VALUES,
  A_PARTS,
  A_SHAPE,
  A_VALUES,
  H_COS,
  H_HEADS,
  H_HEAD_DIM,
  H_ROTARY,
  H_SIN,
  OP_ATTENTION,
  OP_ATTEND_TOKEN,
  OP_HEADS,
  OP_STORE_KV,
  W_SRC,
} from "../../abi.js";
import { attentionScratchBytes, partsBytes } from "../../kv-layout.js";
import { isValue, strideOf, type Value } from "../draft.js";
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
  const y = emitter.like(x);
  const { cos, sin } = model.angles(spec);
  emitter.emit(OP_HEADS, [x], [y], {
    ...between(x, y),
    [H_HEADS]: heads,
    [H_HEAD_DIM]: headDim,
    [H_ROTARY]: spec.inverseFrequencies.length * 2,
    [H_COS]: cos,
    [H_SIN]: sin,
  });
  return y;
}

/** For a token one instruction does all; a tile stores its keys and values first, for its tokens see each other's. */
export function emitAttention(
  emitter: Emitter,
  model: PlacedModel,
  tensors: { q: Value; k: Value; v: Value },
  spec: AttentionSpec,
  layer: number,
): Value {
  const { heads, kvHeads, headDim } = spec;
  const [q, k] = [tensors.q, tensors.k].map((x) => withoutRope(emitter, x));
  const { v } = tensors;
  const placed = model.attention(layer);
  const keys = emitter.fixed(placed.keys);
  const values = emitter.fixed(placed.values);
  const y = emitter.rows(heads * headDim);
  const cache = { [A_KEYS]: keys, [A_VALUES]: values, [A_SHAPE]: placed.shape };
  const news = { [A_NEW_KEYS]: k, [A_NEW_VALUES]: v, [A_NEW_STRIDE]: strideOf(k) };
  const scratchBytes = attentionScratchBytes(heads, kvHeads, headDim);
  if (emitter.mode === "token") {
    const parts = emitter.value(partsBytes(heads, headDim));
    const operands = { ...between(q, y), ...news, ...cache, [A_PARTS]: parts };
    emitter.emit(
      OP_ATTEND_TOKEN,
      [q, k, v, keys, values],
      [y, keys, values, parts],
      operands,
      false,
      scratchBytes,
    );
  } else {
    emitter.emit(OP_STORE_KV, [k, v], [keys, values], { ...news, ...cache }, false, scratchBytes);
    emitter.emit(OP_ATTENTION, [q, keys, values], [y], { ...between(q, y), ...cache }, false, scratchBytes);
  }
  return y;
}

/** Attention rotates what it reads itself, as its shape says: an instruction that rotated `x` is taken back. */
function withoutRope(emitter: Emitter, x: Value): Value {
  const producer = emitter.producerOf(x);
  const source = producer?.operands[W_SRC];
  if (producer?.op !== OP_HEADS || !isValue(source)) return x;
  if (emitter.isRead(x)) throw new SubbitError("internal", "Rotated heads were read by more than attention.");
  emitter.withdraw(producer);
  return source;
}
