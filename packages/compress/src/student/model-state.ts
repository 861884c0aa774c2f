/** The whole student: blocks between an embedding table and a head, and how it reads from a dense teacher. */
import {
  denseValues,
  enterBlocks,
  type FactoredLinear,
  type LinearRole,
  type Model,
  type ModelSpec,
  type NormRole,
  readReferenceEnds,
  type ReferenceEnds,
  tableValues,
} from "@subbit/core";
import { projectionFeed } from "@subbit/engine";
import type { LinearState } from "./linear-state.js";
import type { BlockState, NormState } from "./state.js";

/** What stands before the first and behind the last block. */
export interface EndsState {
  /** [vocabSize, embeddingSize] */
  readonly embedding: Float32Array;
  /** Absent where the family has none. */
  readonly finalNorm?: NormState;
  /** Learned positions and projections: the teacher's, which nothing changes. */
  readonly fixed: ReferenceEnds;
  /** [vocabSize, embeddingSize]; the embedding itself when the head is tied. */
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
  for (const role of model.spec.linears) {
    const linear = await model.linear({ layer, role });
    if (linear.kind !== "dense") throw new TypeError(`Linear ${role} of block ${layer} is already packed.`);
    const { rows, cols, bias } = linear;
    linears[role] = { kind: "dense", rows, cols, weight: denseValues(linear), ...(bias && { bias }) };
  }
  const norms = {} as Record<NormRole, NormState>;
  for (const role of model.spec.norms) norms[role] = await model.norm({ layer, role });
  return { linears, norms };
}

/** Embedding, final norm and head of a model as f32. */
export async function readEnds(model: Model): Promise<EndsState> {
  const embedding = tableValues(await model.embedding());
  const { tiedHead, ends } = model.spec;
  const finalNorm = ends.finalNorm ? { finalNorm: await model.norm({ role: "final-norm" }) } : {};
  const head = tiedHead ? embedding : tableValues(await model.head());
  return { embedding, ...finalNorm, fixed: await readReferenceEnds(model), head };
}

/** What enters the first block for the ids of windows of `seqlen` tokens, [ids.length, hiddenSize]. */
export function embed(spec: ModelSpec, ends: EndsState, ids: Int32Array, seqlen: number): Float32Array {
  const { embeddingSize: width } = spec.ends;
  const rows = new Float32Array(ids.length * width);
  ids.forEach((id, i) => rows.set(ends.embedding.subarray(id * width, (id + 1) * width), i * width));
  return enterBlocks(spec, ends.fixed, rows, seqlen);
}

/** Feeds of a head program; `prefix` is `teacher.` for the teacher's side of a divergence. */
export function endsFeeds(ends: EndsState, prefix = "", withHead = true): Record<string, Float32Array> {
  const { finalNorm, fixed, head } = ends;
  const projection = fixed.get("projection-out");
  return {
    ...(finalNorm && { [`${prefix}final-norm.weight`]: finalNorm.weight }),
    ...(finalNorm?.bias && { [`${prefix}final-norm.bias`]: finalNorm.bias }),
    ...(projection && { [`${prefix}${projectionFeed("out")}`]: projection.values }),
    ...(withHead && { [`${prefix}head.weight`]: head }),
  };
}
