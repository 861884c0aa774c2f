/** The forward pass as instructions: an `Ops` whose tensors are values of a program in the making. */
import type { Activation, AttentionSpec, LinearSite, NormSite, NormSpec, Ops, RopeSpec } from "@subbit/core";
import { SubbitError } from "@subbit/core";
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_RELU,
  ACT_SILU,
  A_CAPACITY,
  A_HEADS,
  A_HEAD_DIM,
  A_KEYS,
  A_KV_HEADS,
  A_SCALE,
  A_VALUES,
  DENSE_COL_PAD,
  E_OTHER,
  H_AT_POSITION,
  H_COS,
  H_HEADS,
  H_HEAD_DIM,
  H_HEAD_STRIDE,
  H_SIN,
  H_TOKEN_STRIDE,
  M_BIAS,
  M_COLS,
  M_DTYPE,
  M_HEAD_ONLY,
  M_ROWS,
  M_ROW_BYTES,
  M_ROW_SCALES,
  M_WEIGHTS,
  NORM_LAYER,
  NORM_RMS,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_KIND,
  N_WEIGHT,
  OP_ACTIVATE,
  OP_ADD,
  OP_ATTENTION,
  OP_DENSE,
  OP_EMBED,
  OP_HEADS,
  OP_MULTIPLY,
  OP_NORM,
  OP_SIGN_PRODUCT,
  OP_SIGN_TABLES,
  ROW_PAD,
  SIGN_BLOCK,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_ROWS,
  S_SCALE,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  T_COLS,
  T_ROTATE,
  T_SCALE,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
  X_KIND,
  X_TIMES,
} from "../abi.js";
import {
  pad,
  type PlacedDense,
  type PlacedFactored,
  type PlacedLinear,
  type PlacedNorm,
  type PlacedSigns,
} from "../weights/place.js";
import { strideOf, type Draft, type Operand, type Value } from "./draft.js";

const ACTIVATIONS = {
  silu: ACT_SILU,
  gelu: ACT_GELU,
  "gelu-tanh": ACT_GELU_TANH,
  relu: ACT_RELU,
} as const satisfies Record<Activation, number>;

/** Everything of a model that lies in memory before the program is made. */
export interface PlacedModel {
  linear(site: LinearSite): PlacedLinear;
  norm(site: NormSite): PlacedNorm;
  /** Keys or values of a layer: f32 [kvHeads, capacity, headDim padded to 4]. */
  cache(layer: number, kind: "keys" | "values"): number;
  readonly capacity: number;
  /** f32 [capacity, headDim / 2] */
  readonly cos: number;
  readonly sin: number;
}

export class ProgramOps implements Ops<Value> {
  readonly #model: PlacedModel;
  readonly #drafts: Draft[] = [];
  readonly #featuresOf = new Map<Value, number>();
  #nextId = 0;
  #rotation = 0;

  constructor(model: PlacedModel) {
    this.#model = model;
  }

  /** The drafts emitted since the last call. */
  take(): Draft[] {
    return this.#drafts.splice(0);
  }

  /** Fusion left the value `before` under another name; it has the same features. */
  renamed(before: Value, after: Value): Value {
    this.#featuresOf.set(after, this.#features(before));
    return after;
  }

  embed(table: PlacedDense): Value {
    const y = this.#rows(table.cols);
    this.#emit(OP_EMBED, [], [y], { [W_DST]: y, [W_DST_STRIDE]: strideOf(y), ...matrixOperands(table) });
    return y;
  }

  /** Logits of the tokens that are asked for. */
  head(x: Value, table: PlacedDense): Value {
    const y = this.#rows(table.rows);
    this.#dense(x, table, y, true);
    return y;
  }

  norm(x: Value, spec: NormSpec, site: NormSite): Value {
    const { weight, bias } = this.#model.norm(site);
    const y = this.#like(x);
    this.#emit(OP_NORM, [x], [y], {
      ...between(x, y),
      [N_KIND]: spec.kind === "rms" ? NORM_RMS : NORM_LAYER,
      [N_FEATURES]: this.#features(x),
      [N_WEIGHT]: weight,
      [N_BIAS]: bias,
      [N_EPS]: { real: spec.eps },
    });
    return y;
  }

  linear(x: Value, site: LinearSite): Value {
    const linear = this.#model.linear(site);
    const y = this.#rows(linear.rows);
    if (linear.kind === "dense") this.#dense(x, linear, y, false);
    else this.#factored(x, linear, y);
    return y;
  }

  rope(x: Value, heads: number, headDim: number, spec: RopeSpec): Value {
    if (spec.inverseFrequencies.length * 2 !== headDim) {
      throw new SubbitError(
        "internal",
        `Rotary tables for ${spec.inverseFrequencies.length * 2} met heads of ${headDim}.`,
      );
    }
    const y = this.#like(x);
    this.#emit(OP_HEADS, [x], [y], {
      [W_SRC]: x,
      [W_SRC_STRIDE]: strideOf(x),
      [W_DST]: y,
      [H_HEADS]: heads,
      [H_HEAD_DIM]: headDim,
      [H_TOKEN_STRIDE]: strideOf(y),
      [H_HEAD_STRIDE]: headDim,
      [H_COS]: this.#model.cos,
      [H_SIN]: this.#model.sin,
    });
    return y;
  }

  attention(q: Value, k: Value, v: Value, spec: AttentionSpec, layer: number): Value {
    const { heads, kvHeads, headDim, scale } = spec;
    const keys = this.#fixed(this.#model.cache(layer, "keys"));
    const values = this.#fixed(this.#model.cache(layer, "values"));
    this.#intoCache(k, keys, kvHeads, headDim);
    this.#intoCache(v, values, kvHeads, headDim);
    const y = this.#rows(heads * headDim);
    this.#emit(OP_ATTENTION, [q, keys, values], [y], {
      ...between(q, y),
      [A_KEYS]: keys,
      [A_VALUES]: values,
      [A_HEADS]: heads,
      [A_KV_HEADS]: kvHeads,
      [A_HEAD_DIM]: headDim,
      [A_CAPACITY]: this.#model.capacity,
      [A_SCALE]: { real: scale },
    });
    return y;
  }

  activation(x: Value, kind: Activation): Value {
    const y = this.#like(x);
    this.#emit(OP_ACTIVATE, [x], [y], { ...between(x, y), [X_KIND]: ACTIVATIONS[kind], [X_TIMES]: 0 });
    return y;
  }

  add(a: Value, b: Value): Value {
    return this.#pointwise(OP_ADD, a, b);
  }

  multiply(a: Value, b: Value): Value {
    return this.#pointwise(OP_MULTIPLY, a, b);
  }

  #pointwise(op: number, a: Value, b: Value): Value {
    const y = this.#like(a);
    this.#emit(op, [a, b], [y], { ...between(a, y), [E_OTHER]: b });
    return y;
  }

  #dense(x: Value, linear: PlacedDense, y: Value, headOnly: boolean): void {
    this.#emit(OP_DENSE, [x], [y], {
      ...between(x, y),
      ...matrixOperands(linear),
      [M_HEAD_ONLY]: headOnly ? 1 : 0,
    });
  }

  /** t = sum_j g_j o S_in (b_j o x), y = sum_i a_i o S_out (q_i o t), summed over paths: 2 l sign products a path. */
  #factored(x: Value, linear: PlacedFactored, y: Value): void {
    linear.paths.forEach((path, p) => {
      const t = this.#rows(path.rank);
      path.inScales.forEach((scale, j) => this.#signs(x, scale, path.inSigns, path.midIn[j], t, j > 0, 0));
      path.outScales.forEach((scale, i) => {
        const first = p === 0 && i === 0;
        const last = p === linear.paths.length - 1 && i === path.outScales.length - 1;
        this.#signs(t, path.midOut[i], path.outSigns, scale, y, !first, last ? linear.bias : 0);
      });
    });
  }

  /** y (+)= outScale o S (inScale o x) (+ bias) */
  #signs(
    x: Value,
    inScale: number,
    signs: PlacedSigns,
    outScale: number,
    y: Value,
    accumulate: boolean,
    bias: number,
  ): void {
    const cols = pad(signs.cols, SIGN_CHUNK);
    const steps = Math.ceil(cols / SIGN_BLOCK);
    // Tables start on a cache line, so a row of them is a whole number of lines.
    const tables = this.#value(pad(cols * TABLE_BYTES_PER_INPUT + steps * 4, 64));
    this.#emit(OP_SIGN_TABLES, [x], [tables], {
      [W_SRC]: x,
      [W_SRC_STRIDE]: strideOf(x),
      [W_DST]: tables,
      [W_DST_STRIDE]: tables.rowBytes,
      [T_COLS]: cols,
      [T_SCALE]: inScale,
      [T_ROTATE]: this.#rotation++,
    });
    this.#emit(
      OP_SIGN_PRODUCT,
      accumulate ? [tables, y] : [tables],
      [y],
      {
        [W_SRC]: tables,
        [W_SRC_STRIDE]: tables.rowBytes,
        [W_DST]: y,
        [W_DST_STRIDE]: strideOf(y),
        [S_WEIGHTS]: signs.weights,
        [S_ROWS]: pad(signs.rows, SIGN_ROW_TILE),
        [S_COLS]: cols,
        [S_SCALE]: outScale,
        [S_BIAS]: bias,
        [S_ACCUMULATE]: accumulate ? 1 : 0,
      },
      accumulate,
    );
  }

  /** Rotated keys go to the cache directly; anything else is copied. */
  #intoCache(x: Value, cache: Value, heads: number, headDim: number): void {
    const rowFloats = pad(headDim, 4);
    const place = {
      [W_DST]: cache,
      [H_TOKEN_STRIDE]: rowFloats,
      [H_HEAD_STRIDE]: this.#model.capacity * rowFloats,
      [H_AT_POSITION]: 1,
    };
    const producer = this.#drafts.find((draft) => draft.writes.includes(x));
    const read = this.#drafts.some((draft) => draft.reads.includes(x));
    if (producer?.op === OP_HEADS && !read) {
      Object.assign(producer.operands, place);
      producer.writes = [cache];
      return;
    }
    this.#emit(OP_HEADS, [x], [cache], {
      [W_SRC]: x,
      [W_SRC_STRIDE]: strideOf(x),
      [H_HEADS]: heads,
      [H_HEAD_DIM]: headDim,
      ...place,
    });
  }

  #features(x: Value): number {
    const features = this.#featuresOf.get(x);
    if (features === undefined) throw new SubbitError("internal", "A value without features reached a norm.");
    return features;
  }

  #rows(features: number): Value {
    const value = this.#value(pad(features, ROW_PAD) * 4);
    this.#featuresOf.set(value, features);
    return value;
  }

  #like(x: Value): Value {
    return this.#rows(this.#features(x));
  }

  #value(rowBytes: number): Value {
    return { id: this.#nextId++, rowBytes };
  }

  #fixed(address: number): Value {
    return { id: this.#nextId++, rowBytes: 0, address };
  }

  #emit(
    op: number,
    reads: Value[],
    writes: Value[],
    operands: Record<number, Operand>,
    chained = false,
  ): void {
    this.#drafts.push({ op, reads, writes, operands, chained });
  }
}

function between(x: Value, y: Value): Record<number, Operand> {
  return { [W_SRC]: x, [W_SRC_STRIDE]: strideOf(x), [W_DST]: y, [W_DST_STRIDE]: strideOf(y) };
}

function matrixOperands(matrix: PlacedDense): Record<number, Operand> {
  return {
    [M_WEIGHTS]: matrix.weights,
    [M_DTYPE]: matrix.dtype,
    [M_ROWS]: matrix.rows,
    [M_COLS]: pad(matrix.cols, DENSE_COL_PAD),
    [M_ROW_BYTES]: matrix.rowBytes,
    [M_ROW_SCALES]: matrix.rowScales,
    [M_BIAS]: matrix.bias,
  };
}
