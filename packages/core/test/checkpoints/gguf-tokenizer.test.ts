import { readFileSync } from "node:fs";
import * as tokenizers from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import type { Metadata, MetadataValue } from "../../src/checkpoints/gguf/parse.js";
import { mergesFromScores } from "../../src/checkpoints/gguf/tokenizer/sentence-piece.js";
import { sideFile, tokenizerNotes } from "../../src/checkpoints/gguf/tokenizer/side-files.js";
import { openCheckpointAt } from "../../src/node/open-checkpoint-at.js";
import { describeWithShared, sharedPath } from "../shared-fixtures.js";

type Json = Record<string, unknown>;

/** The library's own types do not resolve in an ESM package, so the part used here is declared. */
interface Engine {
  encode(text: string, options?: { add_special_tokens?: boolean }): { ids: number[] };
  decode(ids: number[], options?: { skip_special_tokens?: boolean }): string;
}
const { Tokenizer } = tokenizers as unknown as { Tokenizer: new (file: Json, config: Json) => Engine };

/** The parts of tokenizer.json that these tests look at. */
interface TokenizerFile {
  added_tokens: { id: number; content: string; special: boolean }[];
  post_processor: Json | null;
  model: { vocab: Record<string, number>; merges: (string | [string, string])[]; ignore_merges: boolean };
}

interface Vector {
  text: string;
  ids: number[];
  ids_no_special?: number[];
  decoded: string;
}

function rebuild(metadata: Metadata, fileName = "tokenizer.json"): Json | undefined {
  const text = sideFile(metadata, fileName, { max_position_embeddings: 64 });
  return text === undefined ? undefined : (JSON.parse(text) as Json);
}

/** The metadata that llama.cpp's converter would write for a tokenizer.json. */
function metadataOf(
  file: TokenizerFile,
  kind: "gpt2" | "llama",
  more: Record<string, MetadataValue>,
): Metadata {
  const byId: string[] = [];
  for (const [token, id] of Object.entries(file.model.vocab)) byId[id] = token;
  for (const { id, content } of file.added_tokens) byId[id] = content;
  const added = new Map(file.added_tokens.map((token) => [token.id, token.special]));
  const types = byId.map((token, id) => {
    if (added.has(id)) return token === "<unk>" ? 2 : added.get(id) ? 3 : 4;
    return kind === "llama" && /^<0x[0-9A-F]{2}>$/.test(token) ? 6 : 1;
  });
  const metadata = new Map<string, MetadataValue>([
    ["tokenizer.ggml.model", kind],
    ["tokenizer.ggml.tokens", byId],
    ["tokenizer.ggml.token_type", types],
    ...Object.entries(more).map(([key, value]) => [`tokenizer.ggml.${key}`, value] as const),
  ]);
  const merges = file.model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
  if (kind === "gpt2") return metadata.set("tokenizer.ggml.merges", merges);
  // SentencePiece knows no merges, only the rank of each result.
  const rank = new Map<string, number>();
  for (const [i, merge] of merges.entries()) {
    const result = merge.replace(" ", "");
    if (!rank.has(result)) rank.set(result, -i - 1);
  }
  return metadata.set(
    "tokenizer.ggml.scores",
    byId.map((token) => rank.get(token) ?? -1e6),
  );
}

function expectVectors(tokenizer: Json, config: Json, vectors: readonly Vector[]): void {
  const engine = new Tokenizer(tokenizer, config);
  for (const { text, ids, ids_no_special: plain } of vectors) {
    expect(engine.encode(text).ids, JSON.stringify(text)).toEqual(ids);
    if (plain) expect(engine.encode(text, { add_special_tokens: false }).ids).toEqual(plain);
  }
}

const tiny = new Map<string, MetadataValue>([
  ["tokenizer.ggml.model", "llama"],
  [
    "tokenizer.ggml.tokens",
    ["<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "b", "ab", "▁ab", "abab", "  ", "<extra>"],
  ],
  ["tokenizer.ggml.token_type", [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4, 4]],
  ["tokenizer.ggml.scores", [0, 0, 0, 0, -9, -10, -11, -1, -3, -2, 0, 0]],
  ["tokenizer.ggml.bos_token_id", 1],
  ["tokenizer.ggml.eos_token_id", 2],
  ["tokenizer.chat_template", "{{ messages[0].content }}"],
]);

describe("a SentencePiece tokenizer in GGUF", () => {
  it("has its merges back, in the order of the scores of their results", () => {
    expect(mergesFromScores(["a", "b", "ab", "aab", "aa"], [-5, -6, -2, -1, -3], [1, 1, 1, 1, 1])).toEqual([
      ["a", "ab"],
      ["aa", "b"],
      ["a", "b"],
      ["a", "a"],
    ]);
  });

  it("does not spend time on the splits of absurdly long pieces", () => {
    const begin = performance.now();
    expect(mergesFromScores(["a", "a".repeat(1_000_000)], [0, -1], [1, 1])).toEqual([]);
    expect(performance.now() - begin).toBeLessThan(100);
  });

  it("prefixes a space, falls back to bytes, adds bos, and keeps user-defined runs of spaces", () => {
    const file = rebuild(tiny) as unknown as TokenizerFile & Json;
    expect(file.added_tokens.map(({ content, special }) => [content, special])).toEqual([
      ["<unk>", true],
      ["<s>", true],
      ["</s>", true],
      ["▁▁", false],
      ["<extra>", false],
    ]);
    expect(file).toMatchObject({
      normalizer: { normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace" }] },
      post_processor: { type: "TemplateProcessing", special_tokens: { "<s>": { ids: [1] } } },
      model: { type: "BPE", byte_fallback: true, unk_token: "<unk>", vocab: { "▁ab": 8 } },
    });
    const engine = new Tokenizer(file, rebuild(tiny, "tokenizer_config.json")!);
    expect(engine.encode("abab").ids).toEqual([1, 4, 9]);
    expect(engine.encode("ab ab").ids).toEqual([1, 8, 8]);
    expect(engine.encode("A").ids).toEqual([1, 4, 3]);
  });

  it("follows add_space_prefix and add_bos_token", () => {
    const bare = new Map(tiny)
      .set("tokenizer.ggml.add_space_prefix", false)
      .set("tokenizer.ggml.add_bos_token", false);
    const file = rebuild(bare)!;
    expect(file["post_processor"]).toBeNull();
    expect(new Tokenizer(file, {}).encode("abab").ids).toEqual([9]);
  });

  it("brings tokenizer_config.json and generation_config.json", () => {
    expect(rebuild(tiny, "tokenizer_config.json")).toMatchObject({
      add_bos_token: true,
      bos_token: "<s>",
      eos_token: "</s>",
      chat_template: "{{ messages[0].content }}",
      model_max_length: 64,
      added_tokens_decoder: { "1": { content: "<s>", special: true } },
    });
    expect(rebuild(tiny, "generation_config.json")).toMatchObject({ bos_token_id: 1, eos_token_id: 2 });
    expect(rebuild(tiny, "special_tokens_map.json")).toEqual({ bos_token: "<s>", eos_token: "</s>" });
    expect(rebuild(tiny, "subbit.json")).toBeUndefined();
    expect(rebuild(tiny, "constructor")).toBeUndefined();
    expect(rebuild(new Map(), "tokenizer.json")).toBeUndefined();
  });

  it.each<[string, Record<string, MetadataValue>]>([
    ["too few types", { token_type: [1] }],
    ["too few scores", { scores: [1] }],
    ["a score that is no number", { scores: new Array<number>(12).fill(NaN) }],
    ["a bos beyond the vocabulary", { bos_token_id: 12 }],
    ["an unknown kind", { model: "t5" }],
    ["tokens that are no texts", { tokens: [1, 2, 3] }],
  ])("%s: one clear input error", (_, change) => {
    const metadata = new Map(tiny);
    for (const [key, value] of Object.entries(change)) metadata.set(`tokenizer.ggml.${key}`, value);
    expect(() => rebuild(metadata)).toThrow(expect.objectContaining({ code: "input" }));
  });
});

describe("a byte-level tokenizer in GGUF", () => {
  const metadata = (pre?: string): Metadata =>
    new Map<string, MetadataValue>([
      ["tokenizer.ggml.model", "gpt2"],
      ["tokenizer.ggml.tokens", ["<|endoftext|>", "1", "2", "12", "<|im_end|>"]],
      ["tokenizer.ggml.token_type", [3, 1, 1, 1, 3]],
      ["tokenizer.ggml.merges", ["1 2"]],
      ["tokenizer.ggml.eos_token_id", 0],
      ["tokenizer.ggml.bos_token_id", 0],
      ...(pre === undefined ? [] : [["tokenizer.ggml.pre", pre] as const]),
    ]);

  it("splits as its pre-tokenizer says", () => {
    const ids = (pre: string): number[] => new Tokenizer(rebuild(metadata(pre))!, {}).encode("12").ids;
    expect(ids("gpt-2")).toEqual([3]);
    expect(ids("smollm")).toEqual([1, 2]);
    expect(ids("qwen2")).toEqual([1, 2]);
    expect(ids("llama-bpe")).toEqual([0, 3]); // with bos, as llama.cpp adds it unless told otherwise
  });

  it("uses GPT-2's where the pre-tokenizer is unknown or absent, and says so", () => {
    for (const pre of ["klingon", undefined]) {
      expect(rebuild(metadata(pre))!["pre_tokenizer"]).toEqual(rebuild(metadata("gpt-2"))!["pre_tokenizer"]);
      expect(tokenizerNotes(metadata(pre))).toEqual([expect.stringContaining(pre ?? "does not say")]);
    }
    expect(tokenizerNotes(metadata("smollm"))).toEqual([]);
  });

  it("ends generations at the end-of-turn token too", () => {
    expect(rebuild(metadata("gpt-2"), "generation_config.json")!["eos_token_id"]).toEqual([0, 4]);
  });
});

describeWithShared("tokenizer fixtures through GGUF metadata and back", ["fixtures", "tokenizers"], () => {
  const bos = { bos_token_id: 1, eos_token_id: 2 };
  it.each<[string, "gpt2" | "llama", Record<string, MetadataValue>]>([
    ["bpe-gpt2", "gpt2", { pre: "gpt-2" }],
    ["bpe-llama3", "gpt2", { pre: "llama-bpe", bos_token_id: 0, eos_token_id: 1 }],
    ["bpe-qwen2", "gpt2", { pre: "qwen2" }],
    ["spm-llama2", "llama", bos],
    ["spm-gemma", "llama", { bos_token_id: 2, eos_token_id: 1, add_space_prefix: false }],
  ])("%s encodes all vectors", (name, kind, more) => {
    const read = (file: string): unknown =>
      JSON.parse(readFileSync(sharedPath("fixtures", "tokenizers", name, file), "utf8"));
    const file = read("tokenizer.json") as TokenizerFile;
    const metadata = metadataOf(file, kind, more);
    const rebuilt = rebuild(metadata)! as unknown as TokenizerFile & Json;
    // `rstrip` of an added token has no place in GGUF; such tokens get it back from the original here.
    rebuilt.added_tokens = file.added_tokens;
    const vectors = read("vectors.json") as Vector[] | { vectors: Vector[] };
    const list = Array.isArray(vectors) ? vectors : vectors.vectors;
    expect(list.length).toBe(60);
    expectVectors(rebuilt, rebuild(metadata, "tokenizer_config.json")!, list);
  });
});

describeWithShared("tokenizers of GGUF fixtures", ["fixtures", "gguf"], () => {
  it("llama-F16 encodes and decodes its vectors", async () => {
    const checkpoint = await openCheckpointAt(sharedPath("fixtures", "gguf", "llama-F16.gguf"));
    const { vectors } = JSON.parse(
      readFileSync(sharedPath("fixtures", "gguf", "tokenizer-vectors.json"), "utf8"),
    ) as { vectors: Vector[] };
    const engine = new Tokenizer(JSON.parse((await checkpoint.readText("tokenizer.json"))!) as Json, {});
    for (const { text, ids, decoded } of vectors) {
      expect(engine.encode(text).ids).toEqual(ids);
      // The library refuses to decode nothing.
      if (ids.length > 0) expect(engine.decode(ids, { skip_special_tokens: false })).toBe(decoded);
    }
    await checkpoint.close();
  });
});
