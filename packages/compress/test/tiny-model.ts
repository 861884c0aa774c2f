/** A small random llama in memory, as a checkpoint of its own: what the tests of the pipeline compress. */
import {
  blobFiles,
  encodeSafetensors,
  LINEAR_ROLES,
  type Model,
  modelSpec,
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

export async function tinyModel(seed = 1, change: Partial<typeof TINY_CONFIG> = {}): Promise<Model> {
  const random = new Random(seed);
  const config = { ...TINY_CONFIG, ...change };
  const spec = modelSpec(config);
  const tensors: { name: string; dtype: "F32"; shape: number[]; data: Uint8Array }[] = [];
  const add = (name: string, shape: number[], value: () => number) => {
    const values = Float32Array.from({ length: shape.reduce((size, n) => size * n, 1) }, value);
    tensors.push({ name, dtype: "F32", shape, data: new Uint8Array(values.buffer) });
  };
  add(`${spec.names.embedding}`, [spec.vocabSize, spec.hiddenSize], () => 0.5 * normal(random));
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of LINEAR_ROLES) {
      const { rows, cols } = spec.linearShapes[role];
      add(
        `${spec.names.linear({ layer, role })}.weight`,
        [rows, cols],
        () => normal(random) / Math.sqrt(cols),
      );
    }
    for (const role of ["attention-norm", "mlp-norm"] as const) {
      add(`${spec.names.norm({ layer, role })}.weight`, [spec.hiddenSize], () => 1 + 0.1 * normal(random));
    }
  }
  add(`${spec.names.norm({ role: "final-norm" })}.weight`, [spec.hiddenSize], () => 1 + 0.1 * normal(random));
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
