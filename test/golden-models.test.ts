/** Outputs of other implementations: logits and hidden states of transformers, ids of tokenizers, perplexities of torch. */
import { copyFileSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runJson, REPOSITORY } from "./support/run-cli.js";
import { maxAbsDifference, readTensors } from "./support/safetensors.js";
import { hasShared, shared, slowTests } from "./support/shared.js";
import { temporaryFolder } from "./support/temporary.js";

const folder = temporaryFolder();
const MODELS = [
  ...["llama", "llama-gqa-tied", "llama3-rope", "llama-linear-rope", "llama-headdim", "llama-bias"],
  ...["qwen2", "qwen3", "phi3", "phi3-partial", "gemma2", "gemma3_text", "opt", "opt-postln"],
];
const GGUF = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "kmix"].map(
  (type) => `llama-${type}`,
);
GGUF.push("llama3-ropefreqs");

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

interface TokenizerVectors {
  vectors: {
    text: string;
    ids: number[];
    ids_no_special: number[];
    decoded: string;
    decoded_skip_special: string;
  }[];
}

interface ChatVectors {
  vectors: { messages: unknown[]; add_generation_prompt: boolean; rendered: string; ids: number[] }[];
}

interface StoriesReference {
  first_ids: number[];
  seqlen: number;
  windows: number[];
  ppl: number;
  greedy: { prompt_ids: number[]; ids: number[] };
}

interface SplitReference {
  splits: {
    test: { text_sha256: string; text_bytes: number; n_tokens: number; ids_sha256_uint32le: string };
  };
}

async function logitsOf(source: string, expected: string, name: string, device = "cpu") {
  const want = readTensors(expected);
  const ids = join(folder, `${name}.ids.json`);
  const out = join(folder, `${name}.safetensors`);
  writeFileSync(ids, JSON.stringify([...(want.get("input_ids")?.values ?? [])]));
  const result = await runJson([
    "logits",
    source,
    "--ids",
    ids,
    "--out",
    out,
    "--hidden",
    "--device",
    device,
  ]);
  expect(result).toMatchObject({
    out,
    vocab: want.get("logits")?.shape[1],
    tokens: want.get("logits")?.shape[0],
  });
  return { want, got: readTensors(out) };
}

/** The same model with the config that transformers 5 writes. */
function withNewConfig(variant: string): string {
  const source = shared("fixtures/models", variant);
  const copy = join(folder, `${variant}.v5`);
  mkdirSync(copy);
  for (const name of readdirSync(source)) {
    if (name.startsWith("model")) symlinkSync(join(source, name), join(copy, name));
  }
  copyFileSync(join(source, "config.v5.json"), join(copy, "config.json"));
  return copy;
}

describe.skipIf(!hasShared)("Hugging Face folders", () => {
  it.each(MODELS)("%s gives the logits and hidden states of transformers", async (variant) => {
    const source = shared("fixtures/models", variant);
    const { atol } = readJson<{ tolerance: { logits: { atol: number } } }>(join(source, "meta.json"))
      .tolerance.logits;
    expect(atol).toBeLessThan(1e-3);
    const { want, got } = await logitsOf(source, join(source, "expected.safetensors"), variant);
    for (const [name, tensor] of want) {
      if (name !== "logits" && !name.startsWith("hidden.")) continue;
      expect(got.get(name)?.shape, name).toEqual(tensor.shape);
      expect(maxAbsDifference(got.get(name)?.values ?? [], tensor.values), name).toBeLessThan(atol);
    }
    const renewed = await logitsOf(
      withNewConfig(variant),
      join(source, "expected.safetensors"),
      `${variant}.v5`,
    );
    expect(maxAbsDifference(renewed.got.get("logits")?.values ?? [], got.get("logits")?.values ?? [])).toBe(
      0,
    );
  });

  it("gives the same through the reference and the engine", async () => {
    const source = shared("fixtures/models/llama-gqa-tied");
    for (const device of ["reference", "engine"]) {
      const { want, got } = await logitsOf(
        source,
        join(source, "expected.safetensors"),
        `gqa.${device}`,
        device,
      );
      for (const name of got.keys()) {
        expect(
          maxAbsDifference(got.get(name)?.values ?? [], want.get(name)?.values ?? []),
          `${device} ${name}`,
        ).toBeLessThan(7e-4);
      }
    }
  });

  it.each(MODELS)("%s continues greedily with the same tokens", async (variant) => {
    const expected = readTensors(shared("fixtures/models", variant, "expected.safetensors"));
    const prompt = join(folder, `${variant}.prompt.json`);
    writeFileSync(prompt, JSON.stringify([...(expected.get("greedy_prompt")?.values ?? [])]));
    const want = [...(expected.get("greedy")?.values ?? [])];
    const args = [
      "generate",
      shared("fixtures/models", variant),
      "--ids",
      prompt,
      "--temperature",
      "0",
      "--ignore-eos",
    ];
    const { ids } = await runJson<{ ids: number[] }>([...args, "--max-tokens", String(want.length)]);
    expect(ids).toEqual(want);
  });
});

describe.skipIf(!hasShared)("GGUF files", () => {
  it.each(GGUF)("%s gives the logits of its dequantised model", async (name) => {
    const expected = shared("fixtures/gguf", `${name}.expected.safetensors`);
    const { want, got } = await logitsOf(shared("fixtures/gguf", `${name}.gguf`), expected, name);
    expect(maxAbsDifference(got.get("logits")?.values ?? [], want.get("logits")?.values ?? [])).toBeLessThan(
      5e-4,
    );
  });
});

describe.skipIf(!hasShared)("tokenizers", () => {
  const names = [
    "bpe-gpt2",
    "bpe-llama3",
    "bpe-qwen2",
    "smollm2",
    "spm-gemma",
    "spm-llama2",
    "spm-metaspace",
  ];
  it.each(names)("%s: a text of the vectors there and back", async (name) => {
    const source = shared("fixtures/tokenizers", name);
    const { vectors } = readJson<TokenizerVectors>(join(source, "vectors.json"));
    // One process a vector is slow, and the library's own tests run them all: the longest goes through the command.
    const longest = [...vectors].sort((a, b) => b.text.length - a.text.length).slice(0, 1);
    for (const vector of longest) {
      const file = join(folder, "vector.txt");
      writeFileSync(file, vector.text);
      const plain = await runJson(["tokenize", source, "--file", file]);
      expect(plain["ids"]).toEqual(vector.ids_no_special);
      const special = await runJson(["tokenize", source, "--file", file, "--special"]);
      expect(special).toMatchObject({ ids: vector.ids, text: vector.decoded });
      const ids = join(folder, "vector.json");
      writeFileSync(ids, JSON.stringify(vector.ids));
      const back = await runJson(["tokenize", source, "--decode", ids, "--skip-special"]);
      expect(back["text"]).toBe(vector.decoded_skip_special);
    }
  });

  it("renders messages by the chat template", async () => {
    const source = shared("fixtures/tokenizers/smollm2");
    const { vectors } = readJson<ChatVectors>(join(source, "chat-vectors.json"));
    const file = join(folder, "messages.json");
    for (const vector of vectors.slice(0, 2)) {
      writeFileSync(file, JSON.stringify(vector.messages));
      const flags = vector.add_generation_prompt ? [] : ["--no-generation-prompt"];
      const result = await runJson(["tokenize", source, "--chat", file, ...flags]);
      expect(result).toMatchObject({ prompt: vector.rendered, ids: vector.ids });
    }
  });
});

describe.skipIf(!hasShared)("stories-11m", () => {
  const reference = () => readJson<StoriesReference>(shared("reference/stories11m.json"));
  const model = join(REPOSITORY, "models/stories-11m");
  /** What a different order of f32 sums may change in a window's mean. */
  const NLL_TOLERANCE = 1e-3;

  it("has the reference's ids and window NLLs on the held-out text", async () => {
    const { first_ids: firstIds, windows, seqlen, ppl } = reference();
    const count = slowTests ? windows.length : 4;
    const text = shared("data/tinystories/tinystories_valid.txt");
    const args = ["eval", model, "--text", text, "--seqlen", String(seqlen), "--windows", String(count)];
    const { perplexity } = await runJson<{
      perplexity: { ppl: number; windows: number[]; firstIds: number[]; tokens: number };
    }>(args);
    expect(perplexity.firstIds).toEqual(firstIds);
    expect(maxAbsDifference(perplexity.windows, windows.slice(0, count))).toBeLessThan(NLL_TOLERANCE);
    if (slowTests) expect(Math.abs(perplexity.ppl - ppl)).toBeLessThan(NLL_TOLERANCE * ppl);
  });

  it("continues greedily as the reference does", async () => {
    const { greedy } = reference();
    const prompt = join(folder, "story.json");
    writeFileSync(prompt, JSON.stringify(greedy.prompt_ids));
    const count = greedy.ids.length - greedy.prompt_ids.length;
    const args = ["generate", model, "--ids", prompt, "--temperature", "0", "--max-tokens", String(count)];
    const { ids } = await runJson<{ ids: number[] }>(args);
    expect(ids).toEqual(greedy.ids.slice(greedy.prompt_ids.length));
  });
});

describe.skipIf(!hasShared)("WikiText rows with the SmolLM2 tokenizer", () => {
  it("are the reference's text and ids", async () => {
    const { splits } = readJson<SplitReference>(shared("reference/perplexity_smollm2.json"));
    const { openTokenizer } = await import("@subbit/core");
    const { readCorpus, folderFiles } = await import("@subbit/core/node");
    const files = folderFiles(shared("fixtures/tokenizers/smollm2"));
    const readText = async (name: string) => {
      const file = await files.open(name);
      if (file === undefined) return undefined;
      const bytes = await file.read(0, file.sizeBytes);
      await file.close();
      return new TextDecoder().decode(bytes);
    };
    const tokenizer = await openTokenizer({ name: "smollm2", config: {}, readText } as Parameters<
      typeof openTokenizer
    >[0]);
    const corpus = await readCorpus(shared("data/wikitext2/wiki.test.raw"), tokenizer);
    expect(corpus).toMatchObject({
      format: "rows",
      textSha256: splits.test.text_sha256,
      textBytes: splits.test.text_bytes,
    });
    expect(corpus.ids.length).toBe(splits.test.n_tokens);
    const { createHash } = await import("node:crypto");
    const sha = createHash("sha256").update(new Uint8Array(corpus.ids.buffer)).digest("hex");
    expect(sha).toBe(splits.test.ids_sha256_uint32le);
  });
});
