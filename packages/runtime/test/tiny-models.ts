/** Random models of any make that live in memory, and a tokenizer of one byte a token. */
import {
  LINEAR_ROLES,
  type OneBitLinear,
  type ScaleBits,
  type Table,
  denseFromF32,
  f32ToBf16,
  f32ToF16,
  modelSpec,
  packSigns,
  quantiseRows,
  storedForm,
  type Checkpoint,
  type DenseLinear,
  type FactoredLinear,
  type Linear,
  type Model,
  type Tokenizer,
} from "@subbit/core";
import { gaussian } from "./kernel-harness.js";

export interface TinyOptions {
  readonly seed?: number;
  readonly hidden?: number;
  readonly layers?: number;
  readonly vocab?: number;
  readonly bias?: boolean;
  readonly tied?: boolean;
  readonly dtype?: DenseLinear["storage"]["dtype"];
  /** Absent: dense. */
  readonly factored?: TinyFactored;
  readonly onebit?: boolean;
  /** Embedding and head are factored like this. */
  readonly tables?: TinyFactored;
  /** Of factored and OneBit linears and factored tables; with 8 their scales are rounded to what is stored. @default 16 */
  readonly scaleBits?: ScaleBits;
  /** Fields of config.json beside the sizes. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface TinyFactored {
  /** Of the first path; path p has p * `more` more. */
  readonly rank: number;
  /** @default 0 */
  readonly more?: number;
  readonly paths: number;
  readonly envelope: number;
  readonly mid: boolean;
}

/** config.json of a tiny model. */
export function tinyConfig({
  hidden = 40,
  layers = 2,
  vocab = 300,
  bias = false,
  tied = false,
  config = {},
}: TinyOptions): Record<string, unknown> {
  return {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    vocab_size: vocab,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 12,
    intermediate_size: 72,
    hidden_act: "silu",
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: tied,
    attention_bias: bias,
    mlp_bias: bias,
    ...config,
  };
}

export function tinyModel(options: TinyOptions = {}): Model {
  const {
    seed = 1,
    hidden = 40,
    layers = 2,
    vocab = 300,
    bias = false,
    tied = false,
    factored,
    onebit = false,
    tables,
    scaleBits = 16,
    dtype = "f32",
    config = {},
  } = options;
  const spec = modelSpec(tinyConfig({ hidden, layers, vocab, bias, tied, config }), "a tiny model");
  let next = seed * 1000;
  const random = (count: number, scale: number): Float32Array =>
    gaussian(count, next++).map((v) => v * scale);
  const dense = (rows: number, cols: number, scale: number, withBias: boolean): DenseLinear =>
    store(
      denseFromF32(random(rows * cols, scale), rows, cols, withBias ? random(rows, 0.1) : undefined),
      dtype,
    );
  const factoredLinear = (form: TinyFactored, rows: number, cols: number, gain = 1): FactoredLinear => {
    const { more = 0, paths, envelope, mid } = form;
    // Terms of an envelope add up, in both factors.
    const size = gain / Math.sqrt(form.rank * cols * paths) / envelope ** 2;
    const around = (count: number, scale: number): Float32Array =>
      random(count, 0.3 * scale).map((v) => v + scale);
    const linear: FactoredLinear = {
      kind: "factored",
      rows,
      cols,
      paths: Array.from({ length: paths }, (_, p) => form.rank + p * more).map((rank) => ({
        rank,
        envelope,
        outSigns: packSigns(random(rows * rank, 1), rows, rank),
        inSigns: packSigns(random(rank * cols, 1), rank, cols),
        outScales: around(envelope * rows, size),
        inScales: around(envelope * cols, 1),
        ...(mid && { midIn: around(envelope * rank, 1) }),
        ...(mid && envelope > 1 && { midOut: around(envelope * rank, 1) }),
      })),
      ...(scaleBits !== 16 && { scaleBits }),
      ...(bias && rows !== vocab && { bias: random(rows, 0.1) }),
    };
    // As the file would hold them, so that a model in memory is the one that is written.
    return scaleBits !== 16 ? storedForm(linear) : linear;
  };
  const oneBitLinear = (rows: number, cols: number): OneBitLinear => {
    const linear: OneBitLinear = {
      kind: "onebit",
      rows,
      cols,
      signs: packSigns(random(rows * cols, 1), rows, cols),
      outScales: random(rows, 0.02).map((v) => v + 0.1),
      inScales: random(cols, 0.3).map((v) => v + 1),
      ...(scaleBits !== 16 && { scaleBits }),
      ...(bias && { bias: random(rows, 0.1) }),
    };
    return scaleBits !== 16 ? storedForm(linear) : linear;
  };
  const linears = new Map<string, Linear>();
  for (let layer = 0; layer < layers; layer++) {
    for (const role of LINEAR_ROLES) {
      const { rows, cols } = spec.linearShapes[role];
      const linear = (): Linear => {
        if (onebit) return oneBitLinear(rows, cols);
        return factored
          ? factoredLinear(factored, rows, cols)
          : dense(rows, cols, 1.5 / Math.sqrt(cols), bias);
      };
      linears.set(`${layer} ${role}`, linear());
    }
  }
  const table = (scale: number): Table =>
    tables
      ? factoredLinear(tables, vocab, hidden, scale * Math.sqrt(hidden))
      : dense(vocab, hidden, scale, false);
  const embedding = table(1);
  const head = tied ? embedding : table(3 / Math.sqrt(hidden));
  const norms = new Map<string, Float32Array>();
  return {
    spec,
    checkpoint: {
      name: "a tiny model",
      format: "safetensors",
      tensors: new Map(),
      config: {},
    } as unknown as Checkpoint,
    linear: (site) => Promise.resolve(linears.get(`${site.layer} ${site.role}`)!),
    norm: (site) => {
      const key = JSON.stringify(site);
      if (!norms.has(key))
        norms.set(
          key,
          gaussian(hidden, seed + key.length + 7).map((v) => 1 + 0.2 * v),
        );
      return Promise.resolve({ weight: norms.get(key)! });
    },
    embedding: () => Promise.resolve(embedding),
    head: () => Promise.resolve(head),
    close: () => Promise.resolve(),
  };
}

export function store(linear: DenseLinear, dtype: DenseLinear["storage"]["dtype"]): DenseLinear {
  if (linear.storage.dtype !== "f32" || dtype === "f32") return linear;
  const { values } = linear.storage;
  if (dtype === "f16") return { ...linear, storage: { dtype, values: f32ToF16(values) } };
  if (dtype === "bf16") return { ...linear, storage: { dtype, values: f32ToBf16(values) } };
  return quantiseRows(linear, dtype === "i8" ? 8 : dtype === "i4" ? 4 : 2);
}

/** Token = byte; characters of several bytes are spread over tokens. Ids from 256 on are special and have no text. */
export function byteTokenizer(stopIds: readonly number[] = []): Tokenizer {
  return {
    vocabSize: 300,
    stopIds: new Set(stopIds),
    encode: (text) => [...new TextEncoder().encode(text)],
    decode: (ids) =>
      new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(ids.filter((id) => id < 256))),
    renderChat: (messages) =>
      messages.map(({ role, content }) => `<${role}>${content}`).join("") + "<assistant>",
  };
}
