/** The forward pass as instructions: an `Ops` whose tensors are values of a program in the making. */
import type {
  Activation,
  AttentionSpec,
  HeadNormSite,
  LinearSite,
  NormSite,
  NormSpec,
  Ops,
  Projection,
  RopeSpec,
} from "@subbit/core";
import {
  ACT_GELU,
  ACT_GELU_TANH,
  ACT_RELU,
  ACT_SILU,
  E_OTHER,
  G_FACTOR,
  NORM_LAYER,
  NORM_RMS,
  N_BIAS,
  N_EPS,
  N_FEATURES,
  N_HEADS,
  N_KIND,
  N_WEIGHT,
  OP_ACTIVATE,
  OP_ADD,
  OP_HEAD_NORM,
  OP_MULTIPLY,
  OP_NORM,
  OP_SCALE,
  X_KIND,
  X_TIMES,
} from "../abi.js";
import type { PlacedEmbedding, PlacedTable } from "../weights/place.js";
import type { PlacedSketch } from "../weights/place-sketch.js";
import type { Value } from "./draft.js";
import type { Emitter } from "./emitter.js";
import { emitAttention, emitRope } from "./lowering/attention.js";
import { emitDense, emitEmbedding, emitPositions } from "./lowering/dense.js";
import { emitFactored, emitFactoredEmbedding, emitOneBit } from "./lowering/factored.js";
import { emitHead } from "./lowering/head.js";
import { between } from "./lowering/rows.js";
import type { PlacedModel } from "./placed-model.js";

const ACTIVATIONS = {
  silu: ACT_SILU,
  gelu: ACT_GELU,
  "gelu-tanh": ACT_GELU_TANH,
  relu: ACT_RELU,
} as const satisfies Record<Activation, number>;

export class ProgramOps implements Ops<Value> {
  readonly #model: PlacedModel;
  readonly #emitter: Emitter;

  constructor(model: PlacedModel, emitter: Emitter) {
    this.#model = model;
    this.#emitter = emitter;
  }

  embed(table: PlacedEmbedding): Value {
    return table.kind === "factored"
      ? emitFactoredEmbedding(this.#emitter, table)
      : emitEmbedding(this.#emitter, table);
  }

  /** Logits of the tokens that are asked for. */
  head(
    x: Value,
    table: PlacedTable,
    options: { sketch?: PlacedSketch | undefined; softcap?: number | undefined },
  ): Value {
    return emitHead(this.#emitter, x, table, options);
  }

  norm(x: Value, spec: NormSpec, site: NormSite): Value {
    const { weight, bias } = this.#model.norm(site);
    const y = this.#emitter.like(x);
    this.#emitter.emit(OP_NORM, [x], [y], {
      ...between(x, y),
      [N_KIND]: spec.kind === "rms" ? NORM_RMS : NORM_LAYER,
      [N_FEATURES]: this.#emitter.features(x),
      [N_WEIGHT]: weight,
      [N_BIAS]: bias,
      [N_EPS]: { real: spec.eps },
    });
    return y;
  }

  headNorm(x: Value, heads: number, headDim: number, spec: NormSpec, site: HeadNormSite): Value {
    const y = this.#emitter.like(x);
    this.#emitter.emit(OP_HEAD_NORM, [x], [y], {
      ...between(x, y),
      [N_HEADS]: heads,
      [N_FEATURES]: headDim,
      [N_WEIGHT]: this.#model.norm(site).weight,
      [N_EPS]: { real: spec.eps },
    });
    return y;
  }

  projection(x: Value, end: Projection): Value {
    const matrix = this.#model.projection(end);
    const y = this.#emitter.rows(matrix.rows);
    emitDense(this.#emitter, x, matrix, y, false);
    return y;
  }

  addPositions(x: Value, offset: number): Value {
    return emitPositions(this.#emitter, x, this.#model.positions(), offset);
  }

  linear(x: Value, site: LinearSite): Value {
    const linear = this.#model.linear(site);
    const y = this.#emitter.rows(linear.rows);
    if (linear.kind === "dense") emitDense(this.#emitter, x, linear, y, false);
    else if (linear.kind === "onebit") emitOneBit(this.#emitter, x, linear, y);
    else emitFactored(this.#emitter, x, linear, y);
    return y;
  }

  rope(x: Value, heads: number, headDim: number, spec: RopeSpec): Value {
    return emitRope(this.#emitter, this.#model, x, heads, headDim, spec);
  }

  attention(q: Value, k: Value, v: Value, spec: AttentionSpec, layer: number): Value {
    return emitAttention(this.#emitter, this.#model, { q, k, v }, spec, layer);
  }

  activation(x: Value, kind: Activation): Value {
    const y = this.#emitter.like(x);
    this.#emitter.emit(OP_ACTIVATE, [x], [y], {
      ...between(x, y),
      [X_KIND]: ACTIVATIONS[kind],
      [X_TIMES]: 0,
    });
    return y;
  }

  add(a: Value, b: Value): Value {
    return this.#pointwise(OP_ADD, a, b);
  }

  multiply(a: Value, b: Value): Value {
    return this.#pointwise(OP_MULTIPLY, a, b);
  }

  scale(x: Value, factor: number): Value {
    const y = this.#emitter.like(x);
    this.#emitter.emit(OP_SCALE, [x], [y], { ...between(x, y), [G_FACTOR]: { real: factor } });
    return y;
  }

  #pointwise(op: number, a: Value, b: Value): Value {
    const y = this.#emitter.like(a);
    this.#emitter.emit(op, [a, b], [y], { ...between(a, y), [E_OTHER]: b });
    return y;
  }
}
