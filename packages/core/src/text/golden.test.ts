/** Tokenizers and chat templates against vectors made with the reference implementations. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../checkpoints/open.js";
import type { Checkpoint } from "../checkpoints/types.js";
import { SubbitError } from "../errors.js";
import { fileSource } from "../node/file-source.js";
import { createChatTemplate } from "./chat-template.js";
import { TokenStreamDecoder } from "./token-stream-decoder.js";
import { openTokenizer } from "./tokenizer.js";
import type { ChatMessage, Tokenizer } from "./types.js";

const SHARED = "../shared/fixtures";
const LOCAL = "packages/core/test/data";

interface Vector {
  readonly text: string;
  readonly ids: number[];
  readonly ids_no_special: number[];
  readonly decoded: string;
  readonly decoded_skip_special: string;
}

interface ChatVector {
  readonly messages: ChatMessage[];
  readonly add_generation_prompt: boolean;
  readonly rendered?: string;
  readonly ids?: number[];
  readonly error?: string;
}

interface TemplateVectors {
  readonly template: string;
  readonly bos_token: string;
  readonly eos_token: string;
  readonly vectors: ChatVector[];
}

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

/** A checkpoint of side files only. */
function sideFiles(folder: string): Checkpoint {
  return {
    format: "safetensors",
    name: folder,
    tensors: new Map(),
    fileBytes: 0,
    config: {},
    notes: [],
    readRaw: () => Promise.reject(new Error("no tensors")),
    readF32: () => Promise.reject(new Error("no tensors")),
    readText: (name) =>
      Promise.resolve(existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : undefined),
    close: () => Promise.resolve(),
  };
}

function checkVectors(tokenizer: Tokenizer, vectors: readonly Vector[]): void {
  for (const vector of vectors) {
    const { text } = vector;
    expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(vector.ids);
    expect(tokenizer.encode(text), text).toEqual(vector.ids_no_special);
    expect(tokenizer.decode(vector.ids), text).toBe(vector.decoded);
    expect(tokenizer.decode(vector.ids, { skipSpecialTokens: true }), text).toBe(vector.decoded_skip_special);
    const stream = new TokenStreamDecoder(tokenizer);
    const pieces = vector.ids.map((id) => stream.push(id));
    expect(pieces.join("") + stream.flush(), text).toBe(vector.decoded_skip_special);
    if (!text.includes("\ufffd")) expect(pieces.join(""), text).not.toContain("\ufffd");
  }
}

const vectorsOf = (path: string): Vector[] => {
  const json = readJson<Vector[] | { vectors: Vector[] }>(path);
  return Array.isArray(json) ? json : json.vectors;
};

describe("tokenizers", () => {
  it("gives the reference ids and texts for the SentencePiece-like tokenizer kept here", async () => {
    const folder = join(LOCAL, "spm-tokenizer");
    checkVectors(await openTokenizer(sideFiles(folder)), vectorsOf(join(folder, "vectors.json")));
  });

  const root = join(SHARED, "tokenizers");
  const names = existsSync(root)
    ? readdirSync(root).filter((name) => existsSync(join(root, name, "vectors.json")))
    : [];
  it.skipIf(names.length === 0).each(names)("gives the reference ids and texts for %s", async (name) => {
    const tokenizer = await openTokenizer(sideFiles(join(root, name)));
    checkVectors(tokenizer, vectorsOf(join(root, name, "vectors.json")));
  });

  const gguf = join(SHARED, "gguf/llama-F16.gguf");
  it.skipIf(!existsSync(gguf))("gives the reference ids for the tokenizer inside a GGUF file", async () => {
    const checkpoint = await openCheckpoint(await fileSource(gguf));
    const tokenizer = await openTokenizer(checkpoint);
    for (const { text, ids, decoded } of vectorsOf(join(SHARED, "gguf/tokenizer-vectors.json"))) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids), text).toBe(decoded);
    }
    await checkpoint.close();
  });
});

describe("chat templates", () => {
  const file = join(SHARED, "tokenizers/chat-templates.json");
  const templates = existsSync(file)
    ? readJson<{ templates: (TemplateVectors & { name: string })[] }>(file).templates
    : [];
  it.skipIf(templates.length === 0).each(templates)("renders $name as transformers does", (template) => {
    const { bos_token, eos_token, vectors } = template;
    const compiled = createChatTemplate(template.template, { bos_token, eos_token }, "the model");
    for (const { messages, add_generation_prompt, rendered, error } of vectors) {
      const render = (): string => compiled.render(messages, { addGenerationPrompt: add_generation_prompt });
      if (error === undefined) {
        expect(render()).toBe(rendered);
      } else {
        expect(render).toThrow(SubbitError);
        expect(render).toThrow(error);
      }
    }
  });

  const smollm2 = join(SHARED, "tokenizers/smollm2");
  it.skipIf(!existsSync(smollm2))("renders and encodes SmolLM2's conversations", async () => {
    const tokenizer = await openTokenizer(sideFiles(smollm2));
    const { vectors } = readJson<{ vectors: ChatVector[] }>(join(smollm2, "chat-vectors.json"));
    for (const { messages, add_generation_prompt, rendered, ids } of vectors) {
      const prompt = tokenizer.renderChat(messages, { addGenerationPrompt: add_generation_prompt });
      expect(prompt).toBe(rendered);
      expect(tokenizer.encode(prompt!)).toEqual(ids);
    }
  });
});
