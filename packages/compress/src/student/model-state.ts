/** The whole student: blocks between an embedding table and a head, and how it reads from a dense teacher. */
import {
  denseValues,
  type FactoredLinear,
  LINEAR_ROLES,
  type LinearRole,
  type Model,
  type NormRole,
  tableValues,
} from "@subbit/core";
import type { LinearState } from "./linear-state.js";
import { type BlockState, NORM_ROLES, type NormState } from "./state.js";

/** What stands before the first and behind the last block. */
export interface EndsState {
  /** [vocabSize, hiddenSize] */
  readonly embedding: Float32Array;
  readonly finalNorm: NormState;
  /** [vocabSize, hiddenSize]; the embedding itself when the head is tied. */
  readonly head: Float32Array;
  /** What the two stand for where they will be stored factored; `head` is absent when it is tied. */
  readonly factored?: { readonly embedding: FactoredLinear; readonly head?: FactoredLinear };
}

export interface ModelState {
  readonly blocks: readonly BlockState[];
  readonly ends: EndsState;
}

/** Block `layer` of a dense (or packed) model, widened to f32: 4 bytes per weight. */
export async function readDenseBlock(model: Model, layer: number): Promise<BlockState> {
  const linears = {} as Record<LinearRole, LinearState>;
  for (const role of LINEAR_ROLES) {
    const linear = await model.linear({ layer, role });
    if (linear.kind !== "dense") throw new TypeError(`Linear ${role} of block ${layer} is already packed.`);
    const { rows, cols, bias } = linear;
    linears[role] = { kind: "dense", rows, cols, weight: denseValues(linear), ...(bias && { bias }) };
  }
  const norms = {} as Record<NormRole, NormState>;
  for (const role of NORM_ROLES) norms[role] = await model.norm({ layer, role });
  return { linears, norms };
}

/** Embedding, final norm and head of a model as f32. */
export async function readEnds(model: Model): Promise<EndsState> {
  const embedding = tableValues(await model.embedding());
  const finalNorm = await model.norm({ role: "final-norm" });
  const head = model.spec.tiedHead ? embedding : tableValues(await model.head());
  return { embedding, finalNorm, head };
}

/** Rows of the embedding table for token ids, [ids.length, hiddenSize]. */
export function embed(embedding: Float32Array, hiddenSize: number, ids: Int32Array): Float32Array {
  const hidden = new Float32Array(ids.length * hiddenSize);
  ids.forEach((id, i) =>
    hidden.set(embedding.subarray(id * hiddenSize, (id + 1) * hiddenSize), i * hiddenSize),
  );
  return hidden;
}

/** Feeds of a head program; `prefix` is `teacher.` for the teacher's side of a divergence. */
export function endsFeeds(ends: EndsState, prefix = "", withHead = true): Record<string, Float32Array> {
  return {
    [`${prefix}final-norm.weight`]: ends.finalNorm.weight,
    ...(ends.finalNorm.bias && { [`${prefix}final-norm.bias`]: ends.finalNorm.bias }),
    ...(withHead && { [`${prefix}head.weight`]: ends.head }),
  };
}
