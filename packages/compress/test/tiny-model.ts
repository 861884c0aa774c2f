/** A small random model in memory, as a checkpoint of its own: what the tests of the pipeline compress. */
import {
  blobFiles,
  encodeSafetensors,
  endTensors,
  linearSites,
  type Model,
  modelSpec,
  normHasBias,
  normSites,
  normSize,
  openCheckpoint,
  openModel,
} from "@subbit/core";
import { Random } from "../src/random.js";

export const TINY_CONFIG = {
  model_type: "llama",
  vocab_size: 61,
  hidden_size: 32,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
};

/** Sum of four uniforms, scaled to unit variance: near enough to normal for weights. */
function normal(random: Random): number {
  return (random.next() + random.next() + random.next() + random.next() - 2) * Math.sqrt(3);
}

/** @param change over `TINY_CONFIG`; with a model type of its own it stands alone */
export async function tinyModel(seed = 1, change: Readonly<Record<string, unknown>> = {}): Promise<Model> {
  const random = new Random(seed);
  const config = "model_type" in change ? change : { ...TINY_CONFIG, ...change };
  const spec = modelSpec(config);
  const tensors: { name: string; dtype: "F32"; shape: number[]; data: Uint8Array }[] = [];
  const add = (name: string, shape: number[], value: () => number) => {
    const values = Float32Array.from({ length: shape.reduce((size, n) => size * n, 1) }, value);
    tensors.push({ name, dtype: "F32", shape, data: new Uint8Array(values.buffer) });
  };
  const { embeddingSize } = spec.ends;
  add(spec.names.embedding, [spec.vocabSize, embeddingSize], () => 0.5 * normal(random));
  if (!spec.tiedHead) add(spec.names.head, [spec.vocabSize, embeddingSize], () => 0.5 * normal(random));
  for (const { name, shape } of endTensors(spec)) {
    add(name, [...shape], () => (0.5 * normal(random)) / Math.sqrt(shape[1]));
  }
  for (const site of linearSites(spec)) {
    const { rows, cols, bias } = spec.linearShapes[site.role];
    const name = spec.names.linear(site);
    add(`${name}.weight`, [rows, cols], () => normal(random) / Math.sqrt(cols));
    // Of 16 bits, as released models have them.
    if (bias) add(`${name}.bias`, [rows], () => Math.round(8 * normal(random)) / 64);
  }
  const { weightOffset } = spec.norm;
  for (const site of normSites(spec)) {
    const name = spec.names.norm(site);
    const size = normSize(spec, site.role);
    add(`${name}.weight`, [size], () => 1 - weightOffset + 0.1 * normal(random));
    if (normHasBias(spec)) add(`${name}.bias`, [size], () => 0.1 * normal(random));
  }
  const files = new Map([
    ["config.json", new Blob([JSON.stringify(config)])],
    ["model.safetensors", new Blob([(await encodeSafetensors(tensors)) as Uint8Array<ArrayBuffer>])],
  ]);
  return openModel(await openCheckpoint(blobFiles(files, "the tiny model")));
}

/** Token ids without any structure but a skewed frequency. */
export function tinyText(length: number, seed = 2): { ids: Int32Array; name: string } {
  const random = new Random(seed);
  return { ids: Int32Array.from({ length }, () => Math.floor(61 * random.next() ** 2)), name: "tiny.txt" };
}
