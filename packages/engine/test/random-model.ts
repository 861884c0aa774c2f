/** A small random model in memory, dense or factored: what the tests of the engine run. */
import {
  modelSpec,
  normHasBias,
  normSize,
  packSigns,
  projectionShape,
  type DenseLinear,
  type FactoredLinear,
  type FactoredPath,
  type Linear,
  type LinearSite,
  type Model,
  type ModelSpec,
  type OneBitLinear,
  type Projection,
  type Table,
} from "@subbit/core";
import { randomNormal, randomSource } from "./support.js";

export interface RandomModelOptions {
  /** Whether every linear is a OneBit one. @default false */
  readonly oneBit?: boolean;
  /** Paths of every factored linear, each of a rank of its own; none means dense. @default 0 */
  readonly paths?: number;
  /** @default 1 */
  readonly envelope?: number;
  /** @default true */
  readonly mid?: boolean;
  /** @default 5 */
  readonly rank?: number;
  /** @default false */
  readonly biases?: boolean;
  /** Whether embedding and head are factored. @default false */
  readonly factoredEnds?: boolean;
  /** config.json. @default a llama's, with what `biases` says */
  readonly config?: Readonly<Record<string, unknown>>;
}

export const TINY_CONFIG = {
  model_type: "llama",
  vocab_size: 29,
  hidden_size: 12,
  intermediate_size: 14,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
};

export function randomModel(seed: number, options: RandomModelOptions = {}): Model {
  const { biases = false } = options;
  const config = options.config ?? { ...TINY_CONFIG, attention_bias: biases, mlp_bias: biases };
  const spec = modelSpec(config, "the test model");
  const random = randomSource(seed);
  const linears = new Map<string, Linear>();
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const [role, { rows, cols, bias }] of Object.entries(spec.linearShapes)) {
      linears.set(`${layer} ${role}`, randomLinear(rows, cols, bias, random, options));
    }
  }
  const norms = new Map<string, { weight: Float32Array; bias?: Float32Array }>();
  const randomTable = (): Table =>
    options.factoredEnds
      ? randomFactored(spec.vocabSize, spec.ends.embeddingSize, random, { ...options, paths: 2 })
      : randomDense(spec.vocabSize, spec.ends.embeddingSize, random);
  const table = randomTable();
  const head = spec.tiedHead ? table : randomTable();
  const { positions, projected } = spec.ends;
  const matrices = new Map<string, DenseLinear>();
  if (positions) matrices.set("positions", randomDense(positions.rows, spec.hiddenSize, random));
  for (const end of projected ? (["in", "out"] as const) : []) {
    const { rows, cols } = projectionShape(spec, end);
    matrices.set(end, randomDense(rows, cols, random));
  }
  return {
    spec,
    checkpoint: undefined as unknown as Model["checkpoint"],
    linear: ({ layer, role }: LinearSite) => Promise.resolve(linears.get(`${layer} ${role}`) as Linear),
    norm: (site) => {
      const key = JSON.stringify(site);
      const size = normSize(spec, site.role);
      const norm = norms.get(key) ?? {
        weight: randomNormal(size, random).map((value) => 1 + 0.3 * value),
        ...(normHasBias(spec) && { bias: randomNormal(size, random).map((value) => 0.3 * value) }),
      };
      norms.set(key, norm);
      return Promise.resolve(norm);
    },
    embedding: () => Promise.resolve(table),
    head: () => Promise.resolve(head),
    ...(positions && { positions: () => Promise.resolve(matrices.get("positions") as DenseLinear) }),
    ...(projected && {
      projection: (end: Projection) => Promise.resolve(matrices.get(end) as DenseLinear),
    }),
    close: () => Promise.resolve(),
  };
}

export function tinySpec(): ModelSpec {
  return modelSpec(TINY_CONFIG, "the test model");
}

function randomLinear(
  rows: number,
  cols: number,
  bias: boolean,
  random: () => number,
  options: RandomModelOptions,
): Linear {
  const biasValues = bias ? { bias: randomNormal(rows, random) } : {};
  if (options.oneBit) return { ...randomOneBit(rows, cols, random), ...biasValues };
  if (!options.paths) return { ...randomDense(rows, cols, random), ...biasValues };
  return { ...randomFactored(rows, cols, random, options), ...biasValues };
}

function randomOneBit(rows: number, cols: number, random: () => number): OneBitLinear {
  const scales = (length: number): Float32Array => Float32Array.from({ length }, () => 0.2 + random());
  return {
    kind: "onebit",
    rows,
    cols,
    signs: packSigns(randomNormal(rows * cols, random), rows, cols),
    outScales: scales(rows),
    inScales: scales(cols),
  };
}

function randomFactored(
  rows: number,
  cols: number,
  random: () => number,
  options: RandomModelOptions,
): FactoredLinear {
  const paths = Array.from({ length: options.paths ?? 1 }, (_, path) =>
    randomPath(rows, cols, path, random, options),
  );
  return { kind: "factored", rows, cols, paths };
}

function randomPath(
  rows: number,
  cols: number,
  path: number,
  random: () => number,
  { rank = 5, envelope = 1, mid = true }: RandomModelOptions,
): FactoredPath {
  const own = rank + path;
  const scales = (length: number): Float32Array =>
    Float32Array.from({ length }, () => (0.1 + 0.5 * random()) / envelope);
  return {
    rank: own,
    envelope,
    outSigns: packSigns(randomNormal(rows * own, random), rows, own),
    inSigns: packSigns(randomNormal(own * cols, random), own, cols),
    outScales: scales(envelope * rows),
    inScales: scales(envelope * cols),
    ...(mid && { midIn: scales(envelope * own) }),
    ...(mid && envelope > 1 && { midOut: scales(envelope * own) }),
  };
}

function randomDense(rows: number, cols: number, random: () => number): DenseLinear {
  const values = randomNormal(rows * cols, random).map((value) => value / Math.sqrt(cols));
  return { kind: "dense", rows, cols, storage: { dtype: "f32", values } };
}
