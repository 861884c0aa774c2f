/**
 * Causal attention and rotary position embedding over a batch of sequences. Query heads that share a key-value head
 * are laid side by side along the token axis, so grouped-query attention copies neither keys nor values.
 */
import type { Value } from "../graph/graph.js";
import { graphError, showShape } from "../graph/shapes.js";
import { reduceSum, reshape } from "./broadcast.js";
import { add, mul, neg, square, sub, tanh } from "./elementwise.js";
import { fused } from "./fused.js";
import { matmul } from "./matrix.js";
import { concat, pad, slice, transpose } from "./shape.js";
import { softmax } from "./softmax.js";

export interface AttentionShape {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Multiplies q k^T. */
  readonly scale: number;
  /** Scores s become cap * tanh(s / cap). @default none */
  readonly softcap?: number;
  /** Positions that a query sees, its own included. @default all before it */
  readonly window?: number;
  /** Queries taken at a time; a matter of speed only. @default 128 */
  readonly chunk?: number;
}

/** Small enough to skip most of the hidden half, large enough for products to run at full speed. */
const CHUNK = 128;

/** What is added to a score that must not count: large, yet finite, so that no NaN can arise. */
const MASKED = -1e30;

/** Cosines and sines of rope, each [tokens, 1, rotated / 2], for positions 0 .. tokens - 1. */
export interface RopeTables {
  readonly cos: Value;
  readonly sin: Value;
}

/**
 * Causal softmax(scale q k^T) v. q [batch * tokens, heads * headDim], k and v [batch * tokens, kvHeads * headDim];
 * the result is shaped as q.
 */
export function causalAttention(q: Value, k: Value, v: Value, shape: AttentionShape): Value {
  const { batch, tokens, heads, kvHeads, headDim, scale } = shape;
  if (heads % kvHeads !== 0)
    throw graphError(`${heads} heads do not share ${kvHeads} key-value heads evenly.`);
  const split = (x: Value): Value =>
    transpose(reshape(x, [batch, tokens, kvHeads, -1, headDim]), [0, 2, 3, 1, 4]);
  const keys = reshape(split(k), [batch, kvHeads, tokens, headDim]);
  const values = reshape(split(v), [batch, kvHeads, tokens, headDim]);
  const mixed = attendInChunks(split(mul(q, scale)), keys, values, shape);
  return reshape(transpose(mixed, [0, 3, 1, 2, 4]), [batch * tokens, heads * headDim]);
}

/** One chunk of queries: their range, and their weights over the keys from `first` up to its end, [B, KV, G n, end - first]. */
interface Chunk {
  readonly first: number;
  readonly begin: number;
  readonly end: number;
  readonly queries: Value;
  readonly weights: Value;
  /** Of the capped scores by the scores, where there is a cap. */
  readonly slope?: Value;
}

/**
 * queries [B, KV, G, T, D], keys and values [B, KV, T, D] -> [B, KV, G, T, D]. Queries are taken a chunk at a time,
 * with the keys that one of them sees only, so that nearly half of what the mask would hide is never computed.
 */
function attendInChunks(
  queries: Value,
  keys: Value,
  values: Value,
  { softcap, window = Infinity, chunk: size = CHUNK }: Pick<AttentionShape, "softcap" | "window" | "chunk">,
): Value {
  const [batch, kvHeads, group, tokens] = queries.shape as readonly [number, number, number, number];
  const rowsOf = (x: Value, begin: number, end: number): Value =>
    reshape(slice(x, 3, begin, end), [batch, kvHeads, group * (end - begin), -1]);
  const apart = (x: Value, { begin, end }: Pick<Chunk, "begin" | "end">): Value =>
    reshape(x, [batch, kvHeads, group, end - begin, -1]);
  const mask = attentionMask(queries, tokens, window);
  const chunks: Chunk[] = [];
  for (let begin = 0; begin < tokens; begin += size) {
    const end = Math.min(tokens, begin + size);
    const first = Math.max(0, begin - window + 1);
    const rows = rowsOf(queries, begin, end);
    const scores = matmul(rows, slice(keys, 2, first, end), { transB: true });
    const bend = softcap === undefined ? undefined : tanh(mul(scores, 1 / softcap));
    const capped = bend === undefined ? scores : mul(bend, softcap ?? 1);
    const visible = slice(slice(mask, 0, begin, end), 1, first, end);
    const open = add(reshape(capped, [batch, kvHeads, group, end - begin, end - first]), visible);
    const weights = reshape(softmax(open), scores.shape);
    chunks.push({ first, begin, end, queries: rows, weights, ...(bend && { slope: sub(1, square(bend)) }) });
  }
  const mixed = chunks.map((chunk) =>
    apart(matmul(chunk.weights, slice(values, 2, chunk.first, chunk.end)), chunk),
  );
  return fused("attention", [queries, keys, values], concat(mixed, 3), ({ grad, output }) => {
    // The softmax's gradient is P o (dP - rowsum(dP o P)), and rowsum(dP o P) = rowsum(dO o O), a sum over headDim
    // instead of over tokens. A further column -rowsum against a column of ones makes the product subtract it.
    const row = neg(reduceSum(mul(grad, output), [-1], { keepDims: true }));
    const gradAndRow = concat([grad, row], -1);
    const ones = values.graph.root.constant(new Float32Array(batch * kvHeads * tokens).fill(1), [
      batch,
      kvHeads,
      tokens,
      1,
    ]);
    const valuesAndOnes = concat([values, ones], -1);
    const parts = chunks.map((chunk) => {
      const { first, begin, end, weights, slope } = chunk;
      const toWeights = matmul(rowsOf(gradAndRow, begin, end), slice(valuesAndOnes, 2, first, end), {
        transB: true,
      });
      const toCapped = mul(weights, toWeights);
      const gradScores = slope === undefined ? toCapped : mul(toCapped, slope);
      return {
        queries: apart(matmul(gradScores, slice(keys, 2, first, end)), chunk),
        keys: pad(matmul(gradScores, chunk.queries, { transA: true }), 2, first, tokens - end),
        values: pad(matmul(weights, rowsOf(grad, begin, end), { transA: true }), 2, first, tokens - end),
      };
    });
    return [
      concat(
        parts.map((part) => part.queries),
        3,
      ),
      parts.map((part) => part.keys).reduce((sum, part) => add(sum, part)),
      parts.map((part) => part.values).reduce((sum, part) => add(sum, part)),
    ];
  });
}

/** [tokens, tokens]: 0 where the column's token may be seen from the row's, a large negative number elsewhere. */
function attentionMask(like: Value, tokens: number, window: number): Value {
  const data = new Float32Array(tokens * tokens);
  for (let row = 0; row < tokens; row++) {
    data.fill(MASKED, row * tokens + row + 1, (row + 1) * tokens);
    data.fill(MASKED, row * tokens, row * tokens + Math.max(0, row - window + 1));
  }
  return like.graph.root.constant(data, [tokens, tokens]);
}

/** Tables for `rope` from [rotated / 2] inverse frequencies; `factor` multiplies both. */
export function ropeTables(
  like: Value,
  inverseFrequencies: ArrayLike<number>,
  tokens: number,
  factor = 1,
): RopeTables {
  const half = inverseFrequencies.length;
  const cos = new Float32Array(tokens * half);
  const sin = new Float32Array(tokens * half);
  for (let position = 0; position < tokens; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * inverseFrequencies[i];
      cos[position * half + i] = Math.cos(angle) * factor;
      sin[position * half + i] = Math.sin(angle) * factor;
    }
  }
  const { root } = like.graph;
  return { cos: root.constant(cos, [tokens, 1, half]), sin: root.constant(sin, [tokens, 1, half]) };
}

/**
 * Rotates the heads of x [batch * tokens, heads * headDim] in the half-split layout; positions start at 0. Features of a
 * head beyond twice the tables' stay as they are.
 */
export function rope(x: Value, tables: RopeTables, heads: number): Value {
  const [rows, features] = x.shape as readonly [number, number];
  const [tokens, , half] = tables.cos.shape as readonly [number, number, number];
  if (rows % tokens !== 0 || features % heads !== 0 || features < heads * 2 * half) {
    throw graphError(
      `rope: ${showShape(x.shape)} is not ${heads} heads of ${2 * half} or more over ${tokens} tokens.`,
    );
  }
  // A rotation's transpose turns the other way.
  return fused("rope", [x], rotate(x, tables, heads), ({ grad }) => [
    rotate(grad, { cos: tables.cos, sin: neg(tables.sin) }, heads),
  ]);
}

function rotate(x: Value, { cos, sin }: RopeTables, heads: number): Value {
  const [tokens, , half] = cos.shape as readonly [number, number, number];
  const headDim = (x.shape[1] ?? 0) / heads;
  const split = reshape(x, [-1, tokens, heads, headDim]);
  const first = slice(split, -1, 0, half);
  const second = slice(split, -1, half, 2 * half);
  const turned = [sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))];
  const rest = headDim > 2 * half ? [slice(split, -1, 2 * half)] : [];
  return reshape(concat([...turned, ...rest], -1), x.shape);
}
