/**
 * Causal attention and rotary position embedding over a batch of sequences. Query heads that share a key-value head
 * are laid side by side along the token axis, so grouped-query attention copies neither keys nor values.
 */
import { innermostGraph, type Value } from "../graph/graph.js";
import { graphError, showShape } from "../graph/shapes.js";
import { reduceSum, reshape } from "./broadcast.js";
import { add, mul, neg, sub } from "./elementwise.js";
import { fused } from "./fused.js";
import { matmul } from "./matrix.js";
import { concat, slice, transpose } from "./shape.js";
import { softmax } from "./softmax.js";

export interface AttentionShape {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Multiplies q k^T. */
  readonly scale: number;
}

/** What is added to a score that must not count: large, yet finite, so that no NaN can arise. */
const MASKED = -1e30;

/** Cosines and sines of rope, each [tokens, 1, headDim / 2], for positions 0 .. tokens - 1. */
export interface RopeTables {
  readonly cos: Value;
  readonly sin: Value;
}

/**
 * Causal softmax(scale q k^T) v. q [batch * tokens, heads * headDim], k and v [batch * tokens, kvHeads * headDim];
 * the result is shaped as q. `mask` comes from `causalMask`, shared by all layers of a graph.
 */
export function causalAttention(q: Value, k: Value, v: Value, mask: Value, shape: AttentionShape): Value {
  const { batch, tokens, heads, kvHeads, headDim, scale } = shape;
  const group = heads / kvHeads;
  if (!Number.isInteger(group))
    throw graphError(`${heads} heads do not share ${kvHeads} key-value heads evenly.`);
  const split = (x: Value): Value =>
    transpose(reshape(x, [batch, tokens, kvHeads, -1, headDim]), [0, 2, 3, 1, 4]);
  const queries = reshape(mul(split(q), scale), [batch, kvHeads, group * tokens, headDim]);
  const keys = reshape(split(k), [batch, kvHeads, tokens, headDim]);
  const values = reshape(split(v), [batch, kvHeads, tokens, headDim]);
  const mixed = masked(queries, keys, values, mask, group, tokens);
  const apart = transpose(reshape(mixed, [batch, kvHeads, group, tokens, headDim]), [0, 3, 1, 2, 4]);
  return reshape(apart, [batch * tokens, heads * headDim]);
}

/** queries [B, KV, G T, D], keys and values [B, KV, T, D] -> [B, KV, G T, D]. */
function masked(
  queries: Value,
  keys: Value,
  values: Value,
  mask: Value,
  group: number,
  tokens: number,
): Value {
  const [batch, kvHeads] = queries.shape as readonly [number, number];
  const scores = matmul(queries, keys, { transB: true });
  const open = add(reshape(scores, [batch, kvHeads, group, tokens, tokens]), mask);
  const weights = reshape(softmax(open), scores.shape);
  return fused("attention", [queries, keys, values], matmul(weights, values), ({ grad, output }) => {
    // rowsum(dP o P) = rowsum(dO o O): a sum over headDim instead of over tokens.
    const row = reduceSum(mul(grad, output), [-1], { keepDims: true });
    const gradWeights = matmul(grad, values, { transB: true });
    const gradScores = mul(weights, sub(gradWeights, row));
    return [
      matmul(gradScores, keys),
      matmul(gradScores, queries, { transA: true }),
      matmul(weights, grad, { transA: true }),
    ];
  });
}

/** [tokens, tokens]: 0 where the column's token may be seen from the row's, a large negative number elsewhere. */
export function causalMask(like: Value, tokens: number): Value {
  const data = new Float32Array(tokens * tokens);
  for (let row = 0; row < tokens; row++) data.fill(MASKED, row * tokens + row + 1, (row + 1) * tokens);
  return innermostGraph([like]).root.constant(data, [tokens, tokens]);
}

/** Tables for `rope` from [headDim / 2] inverse frequencies. */
export function ropeTables(like: Value, inverseFrequencies: ArrayLike<number>, tokens: number): RopeTables {
  const half = inverseFrequencies.length;
  const cos = new Float32Array(tokens * half);
  const sin = new Float32Array(tokens * half);
  for (let position = 0; position < tokens; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * (inverseFrequencies[i] as number);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  const { root } = innermostGraph([like]);
  return { cos: root.constant(cos, [tokens, 1, half]), sin: root.constant(sin, [tokens, 1, half]) };
}

/** Rotates the heads of x [batch * tokens, heads * headDim] in the half-split layout; positions start at 0. */
export function rope(x: Value, tables: RopeTables, heads: number): Value {
  const [rows, features] = x.shape as readonly [number, number];
  const [tokens, , half] = tables.cos.shape as readonly [number, number, number];
  if (rows % tokens !== 0 || features !== heads * 2 * half) {
    throw graphError(
      `rope: ${showShape(x.shape)} is not ${heads} heads of ${2 * half} over ${tokens} tokens.`,
    );
  }
  // A rotation's transpose turns the other way.
  return fused("rope", [x], rotate(x, tables, heads), ({ grad }) => [
    rotate(grad, { cos: tables.cos, sin: neg(tables.sin) }, heads),
  ]);
}

function rotate(x: Value, { cos, sin }: RopeTables, heads: number): Value {
  const [tokens, , half] = cos.shape as readonly [number, number, number];
  const split = reshape(x, [-1, tokens, heads, 2 * half]);
  const first = slice(split, -1, 0, half);
  const second = slice(split, -1, half);
  const turned = [sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))];
  return reshape(concat(turned, -1), x.shape);
}
