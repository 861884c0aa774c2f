/** GGUF files for tests, built by hand from the specification (version 3 unless told). */

export type GgufValue =
  | { readonly type: "u32" | "f32"; readonly value: number }
  | { readonly type: "u64"; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "text"; readonly value: string }
  | { readonly type: "texts"; readonly value: readonly string[] }
  | { readonly type: "i32s" | "f32s"; readonly value: readonly number[] };

export interface GgufTensorToBuild {
  readonly name: string;
  /** Row-major, slowest first. */
  readonly shape: readonly number[];
  /** ggml's type id; 0 is F32. */
  readonly type: number;
  readonly data: Uint8Array;
  /** Written instead of the right one. */
  readonly offset?: number;
}

class Bytes {
  readonly parts: Uint8Array[] = [];
  length = 0;
  raw(bytes: Uint8Array): this {
    this.parts.push(bytes);
    this.length += bytes.length;
    return this;
  }
  number(size: number, set: (view: DataView) => void): this {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer));
    return this.raw(bytes);
  }
  u32(value: number): this {
    return this.number(4, (view) => view.setUint32(0, value, true));
  }
  u64(value: number | bigint): this {
    return this.number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }
  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).raw(bytes);
  }
  value({ type, value }: GgufValue): this {
    switch (type) {
      case "u32":
        return this.u32(4).u32(value);
      case "f32":
        return this.u32(6).number(4, (view) => view.setFloat32(0, value, true));
      case "bool":
        return this.u32(7).raw(Uint8Array.of(value ? 1 : 0));
      case "text":
        return this.u32(8).text(value);
      case "u64":
        return this.u32(10).u64(value);
      case "texts":
        this.u32(9).u32(8).u64(value.length);
        for (const text of value) this.text(text);
        return this;
      case "i32s":
        return this.u32(9)
          .u32(5)
          .u64(value.length)
          .raw(new Uint8Array(Int32Array.from(value).buffer));
      case "f32s":
        return this.u32(9)
          .u32(6)
          .u64(value.length)
          .raw(new Uint8Array(Float32Array.from(value).buffer));
    }
  }
  join(): Uint8Array {
    const out = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

export function buildGguf(
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: readonly GgufTensorToBuild[],
  alignment = 32,
): Uint8Array {
  const keys = [...metadata];
  const out = new Bytes().raw(new TextEncoder().encode("GGUF")).u32(3).u64(tensors.length).u64(keys.length);
  for (const [key, value] of keys) out.text(key).value(value);
  const pad = (length: number): number => (alignment - (length % alignment)) % alignment;
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name).u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) out.u64(size);
    out.u32(tensor.type).u64(tensor.offset ?? offset);
    offset += tensor.data.length + pad(tensor.data.length);
  }
  out.raw(new Uint8Array(pad(out.length)));
  for (const tensor of tensors) out.raw(tensor.data).raw(new Uint8Array(pad(tensor.data.length)));
  return out.join();
}

export const f32Bytes = (values: ArrayLike<number>): Uint8Array =>
  new Uint8Array(Float32Array.from(values).buffer);

/** Keys of a tiny llama: hidden 8, 2 heads of 4 rows, 1 kv head, 1 layer, 6 tokens, context 32. */
export function tinyLlamaMetadata(): Map<string, GgufValue> {
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  return new Map<string, GgufValue>([
    ["general.architecture", { type: "text", value: "llama" }],
    ["llama.context_length", u32(32)],
    ["llama.embedding_length", u32(8)],
    ["llama.block_count", u32(1)],
    ["llama.feed_forward_length", u32(12)],
    ["llama.attention.head_count", u32(2)],
    ["llama.attention.head_count_kv", u32(1)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
    ["llama.rope.freq_base", { type: "f32", value: 10000 }],
    ["tokenizer.ggml.model", { type: "text", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "text", value: "gpt-2" }],
    ["tokenizer.ggml.tokens", { type: "texts", value: ["<|endoftext|>", "a", "b", "ab", "Ġ", "Ġab"] }],
    ["tokenizer.ggml.token_type", { type: "i32s", value: [3, 1, 1, 1, 1, 1] }],
    ["tokenizer.ggml.merges", { type: "texts", value: ["a b", "Ġ ab"] }],
    ["tokenizer.ggml.bos_token_id", u32(0)],
    ["tokenizer.ggml.eos_token_id", u32(0)],
  ]);
}

/** Tensors for `tinyLlamaMetadata`; the value of row r, column c of a matrix is 100 r + c. */
export function tinyLlamaTensors(): GgufTensorToBuild[] {
  const matrix = (name: string, rows: number, columns: number): GgufTensorToBuild => ({
    name,
    shape: [rows, columns],
    type: 0,
    data: f32Bytes(
      Array.from({ length: rows * columns }, (_, i) => 100 * Math.floor(i / columns) + (i % columns)),
    ),
  });
  const vector = (name: string, size: number): GgufTensorToBuild => ({
    name,
    shape: [size],
    type: 0,
    data: f32Bytes(Array.from({ length: size }, (_, i) => i)),
  });
  return [
    matrix("token_embd.weight", 6, 8),
    vector("blk.0.attn_norm.weight", 8),
    matrix("blk.0.attn_q.weight", 8, 8),
    vector("blk.0.attn_q.bias", 8),
    matrix("blk.0.attn_k.weight", 4, 8),
    matrix("blk.0.attn_v.weight", 4, 8),
    matrix("blk.0.attn_output.weight", 8, 8),
    vector("blk.0.ffn_norm.weight", 8),
    matrix("blk.0.ffn_gate.weight", 12, 8),
    matrix("blk.0.ffn_up.weight", 12, 8),
    matrix("blk.0.ffn_down.weight", 8, 12),
    vector("output_norm.weight", 8),
    vector("rope_freqs.weight", 2),
  ];
}
