// A GGUF file with random weights of a known shape, that llama.cpp loads:
//
//   node bench/make-gguf.mjs --shape llama-1b --type q4_0|q4_1|q8_0|f16 OUT.gguf [--seed 0]
//
// Types of the tensors follow llama-quantize: a tied embedding, which is the output too, and a free output are Q6_K (Q8_0 where
// the hidden size is no multiple of 256) in the 4-bit files; a free embedding has the type asked for; norms are F32. The
// tokenizer is made up: as many tokens as the shape has, none of them readable. Needs `npm run build`.
import { open, rename, rm } from "node:fs/promises";
import { parseArgs } from "node:util";
import { randomBytes, uniform } from "../packages/cli/dist/bench/random-bytes.js";
import { shapeConfig } from "../packages/cli/dist/bench/shapes.js";

/** ggml's ids and block sizes, and where a block's f16 numbers stand; everything else of a block is random. */
const TYPES = {
  f32: { id: 0, elements: 1, bytes: 4 },
  f16: { id: 1, elements: 1, bytes: 2, file: 1 },
  q4_0: { id: 2, elements: 32, bytes: 18, halves: [0], file: 2 },
  q4_1: { id: 3, elements: 32, bytes: 20, halves: [0, 2], file: 3 },
  q8_0: { id: 8, elements: 32, bytes: 34, halves: [0], file: 7 },
  q6_k: { id: 14, elements: 256, bytes: 210, halves: [208] },
};
/** f16: a step with which weights of 4, 6 and 8 bits stay well below one. */
const STEP = { q4_0: 0x1800, q4_1: 0x1800, q8_0: 0x0c00, q6_k: 0x0400 };
/** f16 of minus eight steps of 4 bits: Q4_1 stores its least value. */
const LEAST_OF_Q4_1 = 0xa400;
const ALIGNMENT = 32;
const CHUNK_BYTES = 1 << 24;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: "string" },
    type: { type: "string", default: "q4_0" },
    seed: { type: "string", default: "0" },
  },
});
const [out] = positionals;
if (out === undefined || values.shape === undefined || TYPES[values.type]?.file === undefined) {
  process.stderr.write("node bench/make-gguf.mjs --shape NAME --type q4_0|q4_1|q8_0|f16 OUT.gguf\n");
  process.exit(2);
}
await writeGguf(out, values.shape, values.type, Number(values.seed));

async function writeGguf(path, shape, type, seed) {
  const config = shapeConfig(shape);
  const tensors = tensorsOf(config, type);
  const header = encodeHeader(metadataOf(config, shape, type), tensors);
  const partial = `${path}.partial`;
  const file = await open(partial, "w");
  try {
    await file.write(header);
    for (const [index, tensor] of tensors.entries()) {
      for (const bytes of dataOf(tensor, seed + index)) await file.write(bytes);
      await file.write(new Uint8Array(gap(tensor.bytes)));
    }
    await file.close();
    await rename(partial, path);
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(partial, { force: true });
    throw error;
  }
}

function tensorsOf(config, type) {
  const {
    hidden_size: hidden,
    intermediate_size: mlp,
    vocab_size: vocab,
    tie_word_embeddings: tied,
  } = config;
  const heads = config.num_attention_heads * config.head_dim;
  const kv = config.num_key_value_heads * config.head_dim;
  const output = type === "f16" ? "f16" : type === "q8_0" || hidden % 256 !== 0 ? "q8_0" : "q6_k";
  const tensor = (name, kind, ...shape) => {
    const { elements, bytes } = TYPES[kind];
    return { name, kind, shape, bytes: (shape.reduce((a, b) => a * b) / elements) * bytes };
  };
  const block = (i) => [
    tensor(`blk.${i}.attn_norm.weight`, "f32", hidden),
    tensor(`blk.${i}.attn_q.weight`, type, heads, hidden),
    tensor(`blk.${i}.attn_k.weight`, type, kv, hidden),
    tensor(`blk.${i}.attn_v.weight`, type, kv, hidden),
    tensor(`blk.${i}.attn_output.weight`, type, hidden, heads),
    tensor(`blk.${i}.ffn_norm.weight`, "f32", hidden),
    tensor(`blk.${i}.ffn_gate.weight`, type, mlp, hidden),
    tensor(`blk.${i}.ffn_up.weight`, type, mlp, hidden),
    tensor(`blk.${i}.ffn_down.weight`, type, hidden, mlp),
  ];
  return [
    tensor("token_embd.weight", tied ? output : type, vocab, hidden),
    ...Array.from({ length: config.num_hidden_layers }, (_, i) => block(i)).flat(),
    tensor("output_norm.weight", "f32", hidden),
    ...(tied ? [] : [tensor("output.weight", output, vocab, hidden)]),
  ];
}

function metadataOf(config, shape, type) {
  const vocab = config.vocab_size;
  return [
    ["general.architecture", "text", "llama"],
    ["general.name", "text", `${shape} shape, random weights`],
    ["general.file_type", "u32", TYPES[type].file],
    ["llama.vocab_size", "u32", vocab],
    ["llama.context_length", "u32", config.max_position_embeddings],
    ["llama.embedding_length", "u32", config.hidden_size],
    ["llama.block_count", "u32", config.num_hidden_layers],
    ["llama.feed_forward_length", "u32", config.intermediate_size],
    ["llama.attention.head_count", "u32", config.num_attention_heads],
    ["llama.attention.head_count_kv", "u32", config.num_key_value_heads],
    ["llama.attention.key_length", "u32", config.head_dim],
    ["llama.attention.value_length", "u32", config.head_dim],
    ["llama.rope.dimension_count", "u32", config.head_dim],
    ["llama.attention.layer_norm_rms_epsilon", "f32", config.rms_norm_eps],
    ["llama.rope.freq_base", "f32", config.rope_theta],
    ["tokenizer.ggml.model", "text", "gpt2"],
    ["tokenizer.ggml.pre", "text", "gpt-2"],
    [
      "tokenizer.ggml.tokens",
      "texts",
      Array.from({ length: vocab }, (_, id) => (id === 0 ? "<|end|>" : `t${id}`)),
    ],
    ["tokenizer.ggml.token_type", "i32s", Array.from({ length: vocab }, (_, id) => (id === 0 ? 3 : 1))],
    ["tokenizer.ggml.merges", "texts", ["t 1"]],
    ["tokenizer.ggml.bos_token_id", "u32", 0],
    ["tokenizer.ggml.eos_token_id", "u32", 0],
  ];
}

/** The file up to the first tensor (GGUF version 3, little-endian). */
function encodeHeader(metadata, tensors) {
  const parts = [];
  const fixed = (size, set) => {
    const bytes = Buffer.alloc(size);
    set(bytes);
    parts.push(bytes);
  };
  const u32 = (value) => fixed(4, (bytes) => bytes.writeUInt32LE(value));
  const u64 = (value) => fixed(8, (bytes) => bytes.writeBigUInt64LE(BigInt(value)));
  const text = (value) => {
    const bytes = Buffer.from(value);
    u64(bytes.length);
    parts.push(bytes);
  };
  const write = {
    u32: (value) => (u32(4), u32(value)),
    f32: (value) => (u32(6), fixed(4, (bytes) => bytes.writeFloatLE(value))),
    text: (value) => (u32(8), text(value)),
    texts: (list) => (u32(9), u32(8), u64(list.length), list.forEach(text)),
    i32s: (list) => (u32(9), u32(5), u64(list.length), parts.push(Buffer.from(Int32Array.from(list).buffer))),
  };
  parts.push(Buffer.from("GGUF"));
  u32(3);
  u64(tensors.length);
  u64(metadata.length);
  for (const [key, kind, value] of metadata) {
    text(key);
    write[kind](value);
  }
  let offset = 0;
  for (const { name, kind, shape, bytes } of tensors) {
    text(name);
    u32(shape.length);
    for (const size of [...shape].reverse()) u64(size);
    u32(TYPES[kind].id);
    u64(offset);
    offset += bytes + gap(bytes);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc(gap(header.length))]);
}

/** Random data in chunks of whole blocks. */
function* dataOf({ kind, shape, bytes }, seed) {
  if (kind === "f32") {
    yield new Uint8Array(uniform(shape[0], 0.75, 1.25, seed).buffer);
    return;
  }
  const type = TYPES[kind];
  const chunk = Math.floor(CHUNK_BYTES / type.bytes) * type.bytes;
  for (let at = 0; at < bytes; at += chunk) {
    const data = randomBytes(Math.min(chunk, bytes - at), seed * 65_537 + at / chunk);
    if (kind === "f16") {
      const halves = new Uint16Array(data.buffer, 0, data.length / 2);
      // Sign and mantissa stay; the exponent becomes that of 1/64 to 1/32.
      for (let i = 0; i < halves.length; i++) halves[i] = (halves[i] & 0x83ff) | 0x2400;
    } else {
      for (let block = 0; block < data.length; block += type.bytes) {
        type.halves.forEach((place, i) => {
          const half = i === 0 ? STEP[kind] : LEAST_OF_Q4_1;
          data[block + place] = half & 255;
          data[block + place + 1] = half >> 8;
        });
      }
    }
    yield data;
  }
}

function gap(bytes) {
  return (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
}
