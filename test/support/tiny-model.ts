/**
 * A random llama of some 200,000 weights with a byte-level tokenizer, written as an ordinary Hugging Face folder:
 * every command runs on it in seconds, and no file has to be checked in.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const END_OF_TEXT = "<|endoftext|>";
/** 256 bytes and the end of text. */
export const TINY_VOCAB = 257;

export const TINY_CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 96,
  intermediate_size: 160,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  vocab_size: TINY_VOCAB,
  hidden_act: "silu",
  tie_word_embeddings: true,
  bos_token_id: 256,
  eos_token_id: 256,
  torch_dtype: "float32",
};

export type TinyConfig = typeof TINY_CONFIG;

/** Uniform numbers in [0, 1) from a 32-bit seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface TinyTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export function tinyTensors(config: TinyConfig = TINY_CONFIG, seed = 1): TinyTensor[] {
  const random = randomNumbers(seed);
  const { hidden_size: hidden, intermediate_size: inner, vocab_size: vocab } = config;
  const kv = (hidden / config.num_attention_heads) * config.num_key_value_heads;
  const matrix = (name: string, rows: number, cols: number): TinyTensor => ({
    name,
    shape: [rows, cols],
    // Triangular, unit variance over the columns: activations keep their size through the layers.
    values: Float32Array.from({ length: rows * cols }, () => (random() + random() - 1) * Math.sqrt(6 / cols)),
  });
  const norm = (name: string): TinyTensor => ({
    name,
    shape: [hidden],
    values: Float32Array.from({ length: hidden }, () => 0.75 + random() / 2),
  });
  const tensors = [matrix("model.embed_tokens.weight", vocab, hidden)];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = (name: string): string => `model.layers.${layer}.${name}.weight`;
    tensors.push(
      norm(at("input_layernorm")),
      norm(at("post_attention_layernorm")),
      matrix(at("self_attn.q_proj"), hidden, hidden),
      matrix(at("self_attn.k_proj"), kv, hidden),
      matrix(at("self_attn.v_proj"), kv, hidden),
      matrix(at("self_attn.o_proj"), hidden, hidden),
      matrix(at("mlp.gate_proj"), inner, hidden),
      matrix(at("mlp.up_proj"), inner, hidden),
      matrix(at("mlp.down_proj"), hidden, inner),
    );
  }
  tensors.push(norm("model.norm.weight"));
  return tensors;
}

/** Bytes of a safetensors file with f32 tensors. */
export function safetensorsBytes(tensors: readonly TinyTensor[]): Buffer {
  let offset = 0;
  const header: Record<string, unknown> = {};
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const data = tensors.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  return Buffer.concat([length, padded, ...data]);
}

/** GPT-2's printable stand-in for each byte. */
function byteSymbols(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

export function tinyTokenizer(): Record<string, unknown> {
  const vocab: Record<string, number> = {};
  byteSymbols().forEach((symbol, byte) => (vocab[symbol] = byte));
  vocab[END_OF_TEXT] = 256;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 256,
        content: END_OF_TEXT,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: [],
    },
  };
}

const CHAT_TEMPLATE =
  "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}";

export interface TinyModelOptions {
  readonly config?: Partial<Record<string, unknown>>;
  readonly seed?: number;
  readonly chat?: boolean;
}

/** Writes the model folder and returns its path. */
export function writeTinyModel(folder: string, options: TinyModelOptions = {}): string {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(folder, name), JSON.stringify(value, null, 1));
  write("config.json", { ...TINY_CONFIG, ...options.config });
  write("tokenizer.json", tinyTokenizer());
  write("tokenizer_config.json", {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: END_OF_TEXT,
    eos_token: END_OF_TEXT,
    ...(options.chat === true && { chat_template: CHAT_TEMPLATE }),
  });
  write("generation_config.json", { bos_token_id: 256, eos_token_id: 256 });
  writeFileSync(
    join(folder, "model.safetensors"),
    safetensorsBytes(tinyTensors(TINY_CONFIG, options.seed ?? 1)),
  );
  return folder;
}

const WORDS =
  "the a cat dog sun sea tree red blue big small ran sat saw and then with under over happy".split(" ");

/** `count` documents of made-up sentences, separated by the end-of-text token. */
export function tinyText(count: number, seed = 5): string {
  const random = randomNumbers(seed);
  const sentence = (): string =>
    Array.from(
      { length: 6 + Math.floor(random() * 6) },
      () => WORDS[Math.floor(random() * WORDS.length)],
    ).join(" ");
  return Array.from({ length: count }, () => `${sentence()}. ${sentence()}.\n${END_OF_TEXT}\n`).join("");
}
