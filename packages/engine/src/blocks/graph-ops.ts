/** The forward pass of @subbit/core as graph nodes: `Ops` over values of shape [batch * tokens, features]. */
import {
  ropeFrequencies,
  type Activation,
  type AttentionSpec,
  type HeadNormSite,
  type LinearRole,
  type LinearSite,
  type ModelSpec,
  type NormSite,
  type NormSpec,
  type Ops,
  type Projection,
  type RopeSpec,
} from "@subbit/core";
import type { Value } from "../graph/graph.js";
import * as ops from "../ops/index.js";
import { factoredByActivations, factoredByFactors } from "./factored.js";
import type { BlockForms } from "./forms.js";
import { oneBit } from "./onebit.js";

/** How many sequences of how many tokens a program works on; every sequence starts at position 0. */
export interface BatchShape {
  readonly batch: number;
  readonly tokens: number;
}

export interface GraphOpsOptions extends BatchShape {
  readonly spec: ModelSpec;
  readonly forms: BlockForms;
  /** The value of a feed; see `blockFeeds` for the names. */
  readonly feed: (name: string) => Value;
  /** Whether a feed's gradient is wanted; decides where scales are applied. @default none is */
  readonly trained?: (name: string) => boolean;
}

/** Input and output of a linear, kept for calibration. */
export interface LinearRecord {
  readonly input: Value;
  readonly output: Value;
}

export class GraphOps implements Ops<Value> {
  /** The linears met so far. */
  readonly linears = new Map<LinearRole, LinearRecord>();
  readonly #options: GraphOpsOptions;
  readonly #ropeTables = new Map<RopeSpec, ops.RopeTables>();

  constructor(options: GraphOpsOptions) {
    this.#options = options;
  }

  norm(x: Value, spec: NormSpec, { role }: NormSite): Value {
    const { feed } = this.#options;
    const weight = feed(`${role}.weight`);
    return spec.kind === "rms"
      ? ops.rmsNorm(x, weight, spec.eps)
      : ops.layerNorm(x, weight, feed(`${role}.bias`), spec.eps);
  }

  headNorm(x: Value, _heads: number, headDim: number, spec: NormSpec, site: HeadNormSite): Value {
    return ops.reshape(this.norm(ops.reshape(x, [-1, headDim]), spec, site), x.shape);
  }

  projection(x: Value, end: Projection): Value {
    return ops.matmul(x, this.#options.feed(projectionFeed(end)), { transB: true });
  }

  addPositions(x: Value, offset: number): Value {
    const { feed, tokens } = this.#options;
    const table = ops.slice(feed("positions.weight"), 0, offset, offset + tokens);
    const [rows, features] = x.shape as readonly [number, number];
    const sum = ops.add(ops.reshape(x, [rows / tokens, tokens, features]), table);
    return ops.reshape(sum, x.shape);
  }

  linear(x: Value, { role }: LinearSite): Value {
    const product = this.#product(x, role);
    const output = this.#hasBias(role) ? ops.add(product, this.#options.feed(`${role}.bias`)) : product;
    this.linears.set(role, { input: x, output });
    return output;
  }

  rope(x: Value, heads: number, _headDim: number, spec: RopeSpec): Value {
    let tables = this.#ropeTables.get(spec);
    if (!tables) {
      const { tokens } = this.#options;
      tables = ops.ropeTables(x, ropeFrequencies(spec, tokens), tokens, spec.factor);
      this.#ropeTables.set(spec, tables);
    }
    return ops.rope(x, tables, heads);
  }

  attention(q: Value, k: Value, v: Value, spec: AttentionSpec): Value {
    const { batch, tokens } = this.#options;
    return ops.causalAttention(q, k, v, { ...spec, batch, tokens });
  }

  activation(x: Value, kind: Activation): Value {
    return ACTIVATIONS[kind](x);
  }

  add(a: Value, b: Value): Value {
    return ops.add(a, b);
  }

  multiply(a: Value, b: Value): Value {
    return ops.mul(a, b);
  }

  scale(x: Value, factor: number): Value {
    return ops.mul(x, factor);
  }

  #product(x: Value, role: LinearRole): Value {
    const { forms, feed, trained = () => false } = this.#options;
    const form = forms[role];
    if (form.kind === "dense") return ops.matmul(x, feed(`${role}.weight`), { transB: true });
    if (form.kind === "onebit") return oneBit(x, (suffix) => feed(`${role}.${suffix}`));
    const any = (suffixes: readonly string[]): boolean =>
      form.ranks.some((_, path) => suffixes.some((suffix) => trained(`${role}.paths.${path}.${suffix}`)));
    const scalesOnly = any(["inScales", "midScales", "outScales"]) && !any(["inSigns", "outSigns"]);
    const apply = scalesOnly && (form.envelope ?? 1) === 1 ? factoredByActivations : factoredByFactors;
    return apply(x, form, (suffix) => feed(`${role}.${suffix}`));
  }

  #hasBias(role: LinearRole): boolean {
    return this.#options.spec.linearShapes[role].bias;
  }
}

/** Name of the feed of a matrix between embedding size and hidden size. */
export function projectionFeed(end: Projection): string {
  return `projection-${end}.weight`;
}

const ACTIVATIONS: Readonly<Record<Activation, (x: Value) => Value>> = {
  silu: ops.silu,
  gelu: ops.gelu,
  "gelu-tanh": ops.geluTanh,
  relu: ops.relu,
};
