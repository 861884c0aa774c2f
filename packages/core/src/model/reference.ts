/**
 * The slow obvious meaning of `Ops<T>`: plain arrays, one value at a time, sums in double precision.
 * Every backend is compared with this one. It computes whole prompts without a cache and is meant for small models.
 */
import { SubbitError, inputError } from "../errors.js";
import { normaliseOutputs, oneBitMatrix } from "../linears/onebit-linear.js";
import { tableRows, tableValues } from "../linears/table.js";
import type { Linear, Table } from "../linears/types.js";
import { blockForward, enterForward, leaveForward } from "./forward.js";
import type { Model } from "./model.js";
import type { HeadNormSite, Ops } from "./ops.js";
import {
  ropeFrequencies,
  type Activation,
  type AttentionSpec,
  type LinearSite,
  type ModelSpec,
  type NormSite,
  type NormSpec,
  type Projection,
  type RopeSpec,
} from "./spec.js";

export interface ReferenceOutput {
  /**
   * layers + 1 arrays [tokens, hiddenSize]: `hidden[0]` enters the first block, `hidden[i]` leaves block i - 1,
   * the last one is what the head multiplies, [tokens, embeddingSize]: after the final norm (the convention of transformers).
   */
  readonly hidden: readonly Float32Array[];
  /** [tokens, vocabSize] */
  readonly logits: Float32Array;
}

/** A linear as the reference uses it: signs and scales are multiplied out. */
export interface PlainLinear {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float32Array;
  /** Whether a OneBit linear's LayerNorm stands between the product and the bias. */
  readonly normalised: boolean;
  readonly bias?: Float32Array;
}

type NormWeights = Awaited<ReturnType<Model["norm"]>>;

/** Weights at hand, by role; `projection-in`, `projection-out` and `positions` at the ends. */
interface ReferenceWeights {
  readonly linears?: ReadonlyMap<string, PlainLinear>;
  readonly norms?: ReadonlyMap<string, NormWeights>;
}

/** [tokens, features] arrays; the weights of one block are in memory at a time. */
class ReferenceOps implements Ops<Float32Array> {
  readonly #tokens: number;
  readonly #weights: ReferenceWeights;

  constructor(tokens: number, weights: ReferenceWeights) {
    this.#tokens = tokens;
    this.#weights = weights;
  }

  norm(x: Float32Array, spec: NormSpec, site: NormSite): Float32Array {
    const weights = this.#weights.norms?.get(site.role);
    if (weights === undefined) throw new SubbitError("internal", `The norm ${site.role} was not loaded.`);
    const width = weights.weight.length;
    const y = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += width) {
      const row = x.subarray(start, start + width);
      let mean = 0;
      if (spec.kind === "layer") {
        for (const value of row) mean += value;
        mean /= width;
      }
      let square = 0;
      for (const value of row) square += (value - mean) ** 2;
      const scale = 1 / Math.sqrt(square / width + spec.eps);
      for (let i = 0; i < width; i++) {
        y[start + i] = (row[i] - mean) * scale * weights.weight[i] + (weights.bias?.[i] ?? 0);
      }
    }
    return y;
  }

  headNorm(
    x: Float32Array,
    _heads: number,
    _headDim: number,
    spec: NormSpec,
    site: HeadNormSite,
  ): Float32Array {
    // Heads lie one after another, and the weight is one head long.
    return this.norm(x, spec, site);
  }

  linear(x: Float32Array, site: LinearSite): Float32Array {
    return multiply(x, this.#linear(site.role));
  }

  projection(x: Float32Array, end: Projection): Float32Array {
    return multiply(x, this.#linear(`projection-${end}`));
  }

  addPositions(x: Float32Array, offset: number): Float32Array {
    const { cols, values } = this.#linear("positions");
    return x.map(
      (value, i) => value + values[((Math.floor(i / cols) % this.#tokens) + offset) * cols + (i % cols)],
    );
  }

  rope(x: Float32Array, heads: number, headDim: number, spec: RopeSpec): Float32Array {
    const y = x.slice();
    const frequencies = ropeFrequencies(spec, this.#tokens);
    const half = frequencies.length;
    for (let token = 0; token < this.#tokens; token++) {
      for (let head = 0; head < heads; head++) {
        const start = (token * heads + head) * headDim;
        for (let i = 0; i < half; i++) {
          const angle = token * frequencies[i];
          const cos = Math.cos(angle) * spec.factor;
          const sin = Math.sin(angle) * spec.factor;
          const first = x[start + i];
          const second = x[start + half + i];
          y[start + i] = first * cos - second * sin;
          y[start + half + i] = second * cos + first * sin;
        }
      }
    }
    return y;
  }

  attention(q: Float32Array, k: Float32Array, v: Float32Array, spec: AttentionSpec): Float32Array {
    const { heads, kvHeads, headDim, scale, softcap, window = Infinity } = spec;
    const y = new Float32Array(q.length);
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      for (let token = 0; token < this.#tokens; token++) {
        const query = (token * heads + head) * headDim;
        const first = Math.max(0, token - window + 1);
        const scores = new Float64Array(token + 1 - first);
        for (let past = first; past <= token; past++) {
          const key = (past * kvHeads + kvHead) * headDim;
          let score = 0;
          for (let i = 0; i < headDim; i++) score += q[query + i] * k[key + i] * scale;
          scores[past - first] = softcap === undefined ? score : capped(score, softcap);
        }
        softmax(scores);
        for (let i = 0; i < headDim; i++) {
          let sum = 0;
          for (let past = first; past <= token; past++) {
            sum += scores[past - first] * v[(past * kvHeads + kvHead) * headDim + i];
          }
          y[query + i] = sum;
        }
      }
    }
    return y;
  }

  activation(x: Float32Array, kind: Activation): Float32Array {
    return x.map((value) => activate(value, kind));
  }

  add(a: Float32Array, b: Float32Array): Float32Array {
    return a.map((value, i) => value + b[i]);
  }

  multiply(a: Float32Array, b: Float32Array): Float32Array {
    return a.map((value, i) => value * b[i]);
  }

  scale(x: Float32Array, factor: number): Float32Array {
    return x.map((value) => value * factor);
  }

  #linear(role: string): PlainLinear {
    const linear = this.#weights.linears?.get(role);
    if (linear === undefined) throw new SubbitError("internal", `The linear ${role} was not loaded.`);
    return linear;
  }
}

/** cap * tanh(x / cap): nearly x while |x| is well below the cap, never beyond it. */
function capped(x: number, cap: number): number {
  return cap * Math.tanh(x / cap);
}

/** y [tokens, rows] = x [tokens, cols] W^T + bias */
function multiply(x: Float32Array, linear: PlainLinear): Float32Array {
  const { rows, cols, values, bias, normalised } = linear;
  const tokens = x.length / cols;
  const y = new Float32Array(tokens * rows);
  const sums = new Float64Array(rows);
  for (let token = 0; token < tokens; token++) {
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let col = 0; col < cols; col++) sum += x[token * cols + col] * values[row * cols + col];
      sums[row] = sum;
    }
    if (normalised) normaliseOutputs(sums);
    for (let row = 0; row < rows; row++) y[token * rows + row] = sums[row] + (bias?.[row] ?? 0);
  }
  return y;
}

function softmax(scores: Float64Array): void {
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += scores[i] = Math.exp(scores[i] - top);
  for (let i = 0; i < scores.length; i++) scores[i] /= sum;
}

/** One activation, in double precision. */
export function activate(x: number, kind: Activation): number {
  switch (kind) {
    case "silu":
      return x / (1 + Math.exp(-x));
    case "gelu":
      return 0.5 * x * (1 + errorFunction(x / Math.SQRT2));
    case "gelu-tanh":
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case "relu":
      return Math.max(0, x);
  }
}

/** erf by its Taylor series near zero and the continued fraction of erfc beyond; both to double precision. */
function errorFunction(x: number): number {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 100 && Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (size + fraction);
  const tail = Math.exp(-size * size) / (Math.sqrt(Math.PI) * (size + fraction));
  return Math.sign(x) * (1 - tail);
}

function plain(linear: Linear): PlainLinear {
  const { rows, cols, bias } = linear;
  const normalised = linear.kind === "onebit";
  const values = normalised ? oneBitMatrix(linear) : tableValues(linear);
  return { rows, cols, values, normalised, ...(bias && { bias }) };
}

/**
 * Rows of the embedding table, [ids.length, hiddenSize]; of a factored one only these are multiplied out. Throws `input`
 * for an id outside the vocabulary.
 */
export function embedTokens(embedding: Table, ids: readonly number[]): Float32Array {
  const { rows } = embedding;
  ids.forEach((id, token) => {
    if (!Number.isInteger(id) || id < 0 || id >= rows) {
      throw inputError(`Token id ${id} at position ${token} is outside the vocabulary of ${rows}.`);
    }
  });
  return tableRows(embedding, ids);
}

/** Runs the whole model over `ids` from position 0. Throws `input` for an id outside the vocabulary. */
export async function referenceForward(model: Model, ids: readonly number[]): Promise<ReferenceOutput> {
  const { spec } = model;
  const ends = await readReferenceEnds(model);
  let x = enterBlocks(model.spec, ends, embedTokens(await model.embedding(), ids), ids.length);
  const hidden = [x];
  for (let layer = 0; layer < spec.layers; layer++) {
    const linears = new Map<string, PlainLinear>();
    for (const role of spec.linears) linears.set(role, plain(await model.linear({ layer, role })));
    const norms = new Map<string, NormWeights>();
    for (const role of spec.norms) norms.set(role, await model.norm({ layer, role }));
    x = blockForward(new ReferenceOps(ids.length, { linears, norms }), spec, layer, x);
    hidden.push(x);
  }
  const last = await referenceFinalNorm(model, x);
  hidden[spec.layers] = last;
  const logits = multiply(last, plain(await model.head()));
  const { logitSoftcap } = spec.ends;
  if (logitSoftcap !== undefined) logits.forEach((logit, i) => (logits[i] = capped(logit, logitSoftcap)));
  return { hidden, logits };
}

/** What stands between embedding, blocks and head, as the reference uses it. */
export type ReferenceEnds = ReadonlyMap<string, PlainLinear>;

/** Learned positions and the matrices between embedding size and hidden size, where the model has them. */
export async function readReferenceEnds(model: Model): Promise<ReferenceEnds> {
  const ends = new Map<string, PlainLinear>();
  if (model.positions !== undefined) ends.set("positions", plain(await model.positions()));
  for (const end of ["in", "out"] as const) {
    if (model.projection !== undefined) ends.set(`projection-${end}`, plain(await model.projection(end)));
  }
  return ends;
}

/**
 * Rows of the embedding, [texts * tokens, embeddingSize], to what enters the first block, [texts * tokens, hiddenSize];
 * every text starts at position 0. The rows themselves where nothing stands between the two.
 */
export function enterBlocks(
  spec: ModelSpec,
  ends: ReferenceEnds,
  rows: Float32Array,
  tokens: number,
): Float32Array {
  return enterForward(new ReferenceOps(tokens, { linears: ends }), spec, rows);
}

/** Hidden states [tokens, hiddenSize] that leave the last block to what the head multiplies, [tokens, embeddingSize]. */
export async function referenceFinalNorm(model: Model, hidden: Float32Array): Promise<Float32Array> {
  const { spec } = model;
  const norms = new Map<string, NormWeights>();
  if (spec.ends.finalNorm) norms.set("final-norm", await model.norm({ role: "final-norm" }));
  const linears = await readReferenceEnds(model);
  return leaveForward(new ReferenceOps(hidden.length / spec.hiddenSize, { linears, norms }), spec, hidden);
}
