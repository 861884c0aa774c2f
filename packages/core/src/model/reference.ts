/**
 * The slow obvious meaning of `Ops<T>`: plain arrays, one value at a time, sums in double precision.
 * Every backend is compared with this one. It computes whole prompts without a cache and is meant for small models.
 */
import { SubbitError, inputError } from "../errors.js";
import { normaliseOutputs, oneBitMatrix } from "../linears/onebit-linear.js";
import { tableRows, tableValues } from "../linears/table.js";
import type { Linear, Table } from "../linears/types.js";
import { blockForward, finalNorm } from "./forward.js";
import type { Model } from "./model.js";
import type { Ops } from "./ops.js";
import { LINEAR_ROLES, type Activation, type LinearSite, type NormSite } from "./spec.js";

export interface ReferenceOutput {
  /**
   * layers + 1 arrays [tokens, hiddenSize]: `hidden[0]` enters the first block, `hidden[i]` leaves block i - 1,
   * the last one is taken after the final norm (the convention of transformers).
   */
  readonly hidden: readonly Float32Array[];
  /** [tokens, vocabSize] */
  readonly logits: Float32Array;
}

/** A linear as the reference uses it: signs and scales are multiplied out. */
interface PlainLinear {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float32Array;
  /** Whether a OneBit linear's LayerNorm stands between the product and the bias. */
  readonly normalised: boolean;
  readonly bias?: Float32Array;
}

type NormWeights = Awaited<ReturnType<Model["norm"]>>;

/** [tokens, features] arrays; the weights of one block are in memory at a time. */
class ReferenceOps implements Ops<Float32Array> {
  readonly #tokens: number;
  readonly #linears: ReadonlyMap<string, PlainLinear>;
  readonly #norms: ReadonlyMap<string, NormWeights>;

  constructor(
    tokens: number,
    linears: ReadonlyMap<string, PlainLinear>,
    norms: ReadonlyMap<string, NormWeights>,
  ) {
    this.#tokens = tokens;
    this.#linears = linears;
    this.#norms = norms;
  }

  norm(x: Float32Array, spec: { kind: "rms" | "layer"; eps: number }, site: NormSite): Float32Array {
    const weights = this.#norms.get(site.role);
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

  linear(x: Float32Array, site: LinearSite): Float32Array {
    const linear = this.#linears.get(site.role);
    if (linear === undefined) throw new SubbitError("internal", `The linear ${site.role} was not loaded.`);
    return multiply(x, linear, this.#tokens);
  }

  rope(
    x: Float32Array,
    heads: number,
    headDim: number,
    spec: { inverseFrequencies: Float64Array },
  ): Float32Array {
    const y = new Float32Array(x.length);
    const half = headDim / 2;
    for (let token = 0; token < this.#tokens; token++) {
      for (let head = 0; head < heads; head++) {
        const start = (token * heads + head) * headDim;
        for (let i = 0; i < half; i++) {
          const angle = token * spec.inverseFrequencies[i];
          const cos = Math.cos(angle);
          const sin = Math.sin(angle);
          const first = x[start + i];
          const second = x[start + half + i];
          y[start + i] = first * cos - second * sin;
          y[start + half + i] = second * cos + first * sin;
        }
      }
    }
    return y;
  }

  attention(
    q: Float32Array,
    k: Float32Array,
    v: Float32Array,
    spec: { heads: number; kvHeads: number; headDim: number; scale: number },
  ): Float32Array {
    const { heads, kvHeads, headDim, scale } = spec;
    const y = new Float32Array(q.length);
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      for (let token = 0; token < this.#tokens; token++) {
        const query = (token * heads + head) * headDim;
        const scores = new Float64Array(token + 1);
        for (let past = 0; past <= token; past++) {
          const key = (past * kvHeads + kvHead) * headDim;
          for (let i = 0; i < headDim; i++) scores[past] += q[query + i] * k[key + i] * scale;
        }
        softmax(scores);
        for (let i = 0; i < headDim; i++) {
          let sum = 0;
          for (let past = 0; past <= token; past++) {
            sum += scores[past] * v[(past * kvHeads + kvHead) * headDim + i];
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
}

/** y [tokens, rows] = x [tokens, cols] W^T + bias */
function multiply(x: Float32Array, linear: PlainLinear, tokens: number): Float32Array {
  const { rows, cols, values, bias, normalised } = linear;
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
  let x = embedTokens(await model.embedding(), ids);
  const hidden = [x];
  for (let layer = 0; layer < spec.layers; layer++) {
    const linears = new Map<string, PlainLinear>();
    for (const role of LINEAR_ROLES) linears.set(role, plain(await model.linear({ layer, role })));
    const norms = new Map<string, NormWeights>();
    for (const role of ["attention-norm", "mlp-norm"] as const) {
      norms.set(role, await model.norm({ layer, role }));
    }
    x = blockForward(new ReferenceOps(ids.length, linears, norms), spec, layer, x);
    hidden.push(x);
  }
  const last = await referenceFinalNorm(model, x);
  hidden[spec.layers] = last;
  return { hidden, logits: multiply(last, plain(await model.head()), ids.length) };
}

/** The last norm over hidden states [tokens, hiddenSize] that leave the last block. */
export async function referenceFinalNorm(model: Model, hidden: Float32Array): Promise<Float32Array> {
  const norms = new Map([["final-norm", await model.norm({ role: "final-norm" })]]);
  const tokens = hidden.length / model.spec.hiddenSize;
  return finalNorm(new ReferenceOps(tokens, new Map(), norms), model.spec, hidden);
}
