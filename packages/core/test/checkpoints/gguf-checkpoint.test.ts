import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { openGguf } from "../../src/checkpoints/gguf/file.js";
import { openCheckpoint } from "../../src/checkpoints/open.js";
import { blobSource, bytesSource } from "../../src/checkpoints/sources.js";
import type { ByteSource, Checkpoint } from "../../src/checkpoints/types.js";
import { fileSource } from "../../src/node/file-source.js";
import { describeWithShared, sharedPath } from "../shared-fixtures.js";
import {
  buildGguf,
  f32Bytes,
  tinyLlamaMetadata,
  tinyLlamaTensors,
  type GgufTensorToBuild,
  type GgufValue,
} from "./build-gguf.js";

type Change = (metadata: Map<string, GgufValue>, tensors: GgufTensorToBuild[]) => void;

function build(change: Change = () => {}): Uint8Array {
  const metadata = tinyLlamaMetadata();
  const tensors = tinyLlamaTensors();
  change(metadata, tensors);
  return buildGguf(metadata, tensors);
}

const open = (change?: Change): Promise<Checkpoint> =>
  openCheckpoint(bytesSource(build(change), "tiny.gguf"));
const text = (value: string): GgufValue => ({ type: "text", value });

describe("a llama GGUF file as a Hugging Face checkpoint", () => {
  it("has Hugging Face names in file order, and rope_freqs as it is", async () => {
    const checkpoint = await open();
    expect([...checkpoint.tensors.keys()]).toEqual([
      "model.embed_tokens.weight",
      "model.layers.0.input_layernorm.weight",
      "model.layers.0.self_attn.q_proj.weight",
      "model.layers.0.self_attn.q_proj.bias",
      "model.layers.0.self_attn.k_proj.weight",
      "model.layers.0.self_attn.v_proj.weight",
      "model.layers.0.self_attn.o_proj.weight",
      "model.layers.0.post_attention_layernorm.weight",
      "model.layers.0.mlp.gate_proj.weight",
      "model.layers.0.mlp.up_proj.weight",
      "model.layers.0.mlp.down_proj.weight",
      "model.norm.weight",
      "rope_freqs.weight",
    ]);
    expect(checkpoint.tensors.get("model.layers.0.mlp.down_proj.weight")).toEqual({
      name: "model.layers.0.mlp.down_proj.weight",
      dtype: "F32",
      shape: [8, 12],
      bytes: 384,
      file: "tiny.gguf",
      offset: expect.any(Number),
    });
  });

  it("puts query and key rows into the half-split order, by any range, biases too", async () => {
    const checkpoint = await open();
    // Stored order inside a head of 4: (i, half). Hugging Face: (half, i), so rows 0 2 1 3 of the stored head.
    const order = [0, 2, 1, 3, 4, 6, 5, 7];
    const q = "model.layers.0.self_attn.q_proj";
    const rows = order.map((row) => Array.from({ length: 8 }, (_, column) => 100 * row + column));
    expect([...(await checkpoint.readF32(`${q}.weight`))]).toEqual(rows.flat());
    expect([...(await checkpoint.readF32(`${q}.bias`))]).toEqual(order);
    for (let begin = 0; begin <= 8; begin++) {
      for (let end = begin; end <= 8; end++) {
        expect([...(await checkpoint.readF32(`${q}.weight`, { begin, end }))]).toEqual(
          rows.slice(begin, end).flat(),
        );
      }
    }
    const k = await checkpoint.readF32("model.layers.0.self_attn.k_proj.weight");
    expect([0, 8, 16, 24].map((at) => k[at])).toEqual([0, 200, 100, 300]);
    await expect(checkpoint.readRaw(`${q}.weight`)).rejects.toMatchObject({ code: "usage" });
  });

  it("rebuilds config.json", async () => {
    const { config } = await open();
    expect(config).toMatchObject({
      model_type: "llama",
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 4,
      attention_bias: true,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      rope_scaling: null,
      max_position_embeddings: 32,
      vocab_size: 6,
      tie_word_embeddings: true,
      bos_token_id: 0,
      eos_token_id: 0,
    });
    const scaled = await open((metadata, tensors) => {
      metadata.set("llama.rope.scaling.type", text("linear"));
      metadata.set("llama.rope.scaling.factor", { type: "f32", value: 2.5 });
      tensors.push({
        name: "output.weight",
        shape: [6, 8],
        type: 0,
        data: f32Bytes(new Array<number>(48).fill(1)),
      });
    });
    expect(scaled.config).toMatchObject({
      rope_scaling: { rope_type: "linear", factor: 2.5 },
      tie_word_embeddings: false,
    });
    expect(scaled.tensors.has("lm_head.weight")).toBe(true);
  });

  it("is the same from a Blob, and from a folder that holds nothing else", async () => {
    const bytes = build() as Uint8Array<ArrayBuffer>;
    const fromBlob = await openCheckpoint(blobSource(new Blob([bytes]), "tiny.gguf"));
    const fromFolder = await openCheckpoint({
      name: "a folder",
      list: () => Promise.resolve(["README.md", "tiny.gguf"]),
      open: (name) => Promise.resolve(name === "tiny.gguf" ? bytesSource(bytes, name) : undefined),
    });
    for (const other of [fromBlob, fromFolder]) {
      expect(other.config).toEqual((await open()).config);
      expect(await other.readF32("model.norm.weight")).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7));
    }
  });
});

describe("GGUF metadata", () => {
  it("keeps strings whole that lie across the parser's 2 MB steps", async () => {
    // A padding array puts the end of the string behind byte 2,000,000 of the file.
    const padding: GgufValue = { type: "i32s", value: new Array<number>(499_600).fill(7) };
    const long = "x".repeat(30_000) + "end";
    const words = ["first", "y".repeat(20_000) + "last"];
    for (const [key, value] of [
      ["test.text", { type: "text", value: long }],
      ["test.texts", { type: "texts", value: words }],
      ["test.long", { type: "text", value: "z".repeat(5_000_000) + "end" }],
    ] as const) {
      const bytes = build((metadata) => metadata.set("test.padding", padding).set(key, value));
      expect(bytes.length).toBeGreaterThan(2_000_000);
      const file = await openGguf(bytesSource(bytes, "long.gguf"));
      expect(file.metadata.get(key)).toEqual(value.value);
    }
  });

  it("keeps every string of a vocabulary of several megabytes, and reads the header twice at most", async () => {
    const tokens = Array.from({ length: 60_000 }, (_, i) => `token${i}`);
    const merges = Array.from({ length: 90_000 }, (_, i) => `tok en${i}`);
    const bytes = build((metadata) =>
      metadata
        .set("tokenizer.ggml.tokens", { type: "texts", value: tokens })
        .set("tokenizer.ggml.merges", { type: "texts", value: merges }),
    );
    const inner = bytesSource(bytes, "large.gguf");
    let bytesRead = 0;
    const file = await openGguf({
      ...inner,
      read: (offset, length) => {
        bytesRead += length;
        return inner.read(offset, length);
      },
    });
    expect(file.metadata.get("tokenizer.ggml.tokens")).toEqual(tokens);
    expect(file.metadata.get("tokenizer.ggml.merges")).toEqual(merges);
    expect(bytesRead).toBeLessThan(2 * bytes.length);
  });

  it("has the keys of the file and none of JavaScript's objects", async () => {
    const file = await openGguf(
      bytesSource(
        build((metadata) => metadata.set("toString", text("x"))),
        "x.gguf",
      ),
    );
    expect(file.metadata.get("toString")).toBe("x");
    expect(file.metadata.get("constructor")).toBeUndefined();
  });
});

describe("bad GGUF files", () => {
  const cases: [string, Change | Uint8Array, RegExp][] = [
    [
      "another architecture",
      (metadata) => metadata.set("general.architecture", text("mamba")),
      /architecture "mamba".*supported: llama/,
    ],
    [
      "no architecture",
      (metadata) => metadata.delete("general.architecture"),
      /does not say its architecture/,
    ],
    [
      "a mixture of experts",
      (metadata) => metadata.set("llama.expert_count", { type: "u32", value: 8 }),
      /mixture of experts/,
    ],
    [
      "a missing size",
      (metadata) => metadata.delete("llama.embedding_length"),
      /lacks the metadata key llama.embedding_length/,
    ],
    [
      "a size of the wrong kind",
      (metadata) => metadata.set("llama.block_count", text("two")),
      /llama.block_count should be a number/,
    ],
    [
      "one part of several",
      (metadata) => metadata.set("split.count", { type: "u32", value: 3 }),
      /one part of a split GGUF/,
    ],
    [
      "an alignment of 24",
      (metadata) => metadata.set("general.alignment", { type: "u32", value: 24 }),
      /power of two/,
    ],
    [
      "heads that do not divide",
      (metadata) => metadata.set("llama.attention.head_count", { type: "u32", value: 3 }),
      /not 3 heads/,
    ],
    [
      "an offset beyond the end",
      (_, tensors) => (tensors[3] = { ...tensors[3], offset: 2 ** 40 }),
      /beyond the end/,
    ],
    [
      "an unaligned offset",
      (_, tensors) => (tensors[3] = { ...tensors[3], offset: 33 }),
      /not aligned to 32/,
    ],
    ["overlapping tensors", (_, tensors) => (tensors[3] = { ...tensors[3], offset: 32 }), /overlaps/],
    [
      "two tensors of one name",
      (_, tensors) => (tensors[3] = { ...tensors[3], name: "output_norm.weight" }),
      /two tensors named/,
    ],
    [
      "a huge shape",
      (_, tensors) => (tensors[3] = { ...tensors[3], shape: [2 ** 31, 2 ** 31] }),
      /impossible shape/,
    ],
    [
      "a shape larger than the file",
      (_, tensors) => (tensors[12] = { ...tensors[12], shape: [2 ** 30] }),
      /ends at byte/,
    ],
    [
      "rows that are no whole blocks",
      (_, tensors) => (tensors[3] = { ...tensors[3], type: 2 }),
      /not whole Q4_0 blocks/,
    ],
    [
      "something else",
      new TextEncoder().encode("this is a text file, not a model"),
      /does not begin with "GGUF"/,
    ],
    ["an empty file", new Uint8Array(0), /does not begin with "GGUF"/],
  ];
  it.each(cases)("%s: one clear input error", async (_, change, message) => {
    const bytes = change instanceof Uint8Array ? change : build(change);
    const opening = openCheckpoint(bytesSource(bytes, "bad.gguf"));
    await expect(opening).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses counts and lengths that the file cannot hold at once, reading no more than a window", async () => {
    for (const at of [8, 16, 24]) {
      const bytes = build();
      new DataView(bytes.buffer).setBigUint64(at, 2n ** 60n, true);
      let read = 0;
      const source: ByteSource = {
        ...bytesSource(bytes, "hostile.gguf"),
        read: (offset, length) => {
          read += length;
          return bytesSource(bytes, "hostile.gguf").read(offset, length);
        },
      };
      const begin = performance.now();
      await expect(openCheckpoint(source)).rejects.toMatchObject({ code: "input" });
      expect(performance.now() - begin).toBeLessThan(200);
      expect(read).toBeLessThanOrEqual(bytes.length);
    }
  });

  it("leaves tensors of unknown types alone until one is asked for", async () => {
    const checkpoint = await open((_, tensors) =>
      tensors.push({ name: "odd.weight", shape: [256], type: 19, data: new Uint8Array(64) }),
    );
    expect(checkpoint.tensors.has("odd.weight")).toBe(false);
    await expect(checkpoint.readF32("odd.weight")).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("ggml type 19") as string,
    });
  });
});

describeWithShared("GGUF fixtures", ["fixtures", "gguf"], () => {
  it("reads metadata of every type", async () => {
    const file = await openGguf(await fileSource(sharedPath("fixtures", "gguf", "kv-types.gguf")));
    const expected = JSON.parse(
      readFileSync(sharedPath("fixtures", "gguf", "kv-types.json"), "utf8"),
    ) as Record<string, { type: string; value: unknown }>;
    for (const [key, { type, value }] of Object.entries(expected)) {
      const got = file.metadata.get(key);
      expect(type === "UINT64" || type === "INT64" ? String(got) : got).toEqual(value);
    }
    await file.close();
  });

  it.each([
    ["llama-F32", { num_hidden_layers: 2, vocab_size: 320, tie_word_embeddings: false }],
    [
      "llama3-ropefreqs",
      { num_hidden_layers: 1, rope_theta: 500000, tie_word_embeddings: true, head_dim: 16 },
    ],
    ["llama-kmix", { hidden_size: 256, num_key_value_heads: 1, vocab_size: 128 }],
  ])("%s has the config it was made of", async (name, config) => {
    const checkpoint = await openCheckpoint(await fileSource(sharedPath("fixtures", "gguf", `${name}.gguf`)));
    expect(checkpoint.config).toMatchObject(config);
    await checkpoint.close();
  });
});
