/** Generation on a model whose next token is known: what comes out, in which pieces, and why it ends. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type GenerateOptions, type GenerationResult, type RuntimeModel } from "../src/index.js";
import { byteTokenizer, tinyModel } from "./tiny-models.js";

let greedy: number[];
let model: RuntimeModel;
const PROMPT = [5, 77, 130];

beforeAll(async () => {
  model = await loadModel(tinyModel({ seed: 5 }), byteTokenizer(), { threads: 1 });
  greedy = [...(await model.complete(PROMPT, { maxTokens: 40 })).ids];
});
afterAll(() => model.dispose());

/** Loads the same model with the given greedy tokens standing for the bytes of `text`. */
async function speaking(text: string, stopIds: number[] = []): Promise<RuntimeModel> {
  const bytes = new TextEncoder().encode(text);
  const base = byteTokenizer(stopIds);
  // The n-th generated token means the n-th byte. Greedy tokens may repeat, so decode goes by position in the known output.
  const decode = (ids: readonly number[]): string => {
    for (let from = 0; from + ids.length <= greedy.length; from++) {
      if (greedy.slice(from, from + ids.length).join(",") === ids.join(",")) {
        return new TextDecoder().decode(bytes.subarray(from, from + ids.length));
      }
    }
    return "";
  };
  return loadModel(tinyModel({ seed: 5 }), { ...base, decode }, { threads: 1 });
}

async function collect(runtime: RuntimeModel, options: GenerateOptions) {
  const tokens: { id: number; text: string }[] = [];
  const stream = runtime.generate(PROMPT, options);
  for (;;) {
    const step = await stream.next();
    if (step.done === true) return { tokens, result: step.value satisfies GenerationResult };
    tokens.push(step.value);
  }
}

describe("generate", () => {
  it("gives every id once, and pieces that join to the text", async () => {
    const { tokens, result } = await collect(model, { maxTokens: 20 });
    expect(tokens.map(({ id }) => id)).toEqual(greedy.slice(0, 20));
    expect(tokens.map(({ text }) => text).join("")).toBe(result.text);
    expect(result).toMatchObject({ promptTokens: 3, stopReason: "length" });
    expect(result.ids).toEqual(greedy.slice(0, 20));
    expect(result.decodeTokensPerSecond).toBeGreaterThan(0);
  });

  it("ends at an end-of-text token, which has no text", async () => {
    const stop = greedy.find((id, i) => i > 3 && greedy.indexOf(id) === i)!;
    const at = greedy.indexOf(stop);
    const runtime = await loadModel(tinyModel({ seed: 5 }), byteTokenizer([stop]), { threads: 1 });
    const { tokens, result } = await collect(runtime, { maxTokens: 40 });
    expect(result.stopReason).toBe("eos");
    expect(result.ids).toEqual(greedy.slice(0, at + 1));
    expect(tokens.at(-1)).toMatchObject({ id: stop });
    expect((await runtime.complete(PROMPT, { maxTokens: 40, ignoreEos: true })).ids).toEqual(greedy);
    await runtime.dispose();
  });

  it("never shows a part of a character or of a stop string", async () => {
    const distinct = new Set(greedy).size === greedy.length;
    const text = "h\u00e9llo \u{1f642} ne<STOP> more text here";
    const runtime = await speaking(text);
    const { tokens, result } = await collect(runtime, { maxTokens: 36, stop: ["<STOP>", "never"] });
    // Where the model repeats itself the script may jump; the pieces must hold together all the same.
    expect(tokens.map((token) => token.text).join("")).toBe(result.text);
    for (const token of tokens) expect(token.text).not.toMatch(/\ufffd|</);
    if (distinct) expect(result).toMatchObject({ text: "h\u00e9llo \u{1f642} ne", stopReason: "stop" });
    await runtime.dispose();
  });

  it("stops when the context is full", async () => {
    const small = await loadModel(tinyModel({ seed: 5 }), undefined, { threads: 1, contextTokens: 10 });
    const result = await small.complete(PROMPT, { maxTokens: 40 });
    expect(result.stopReason).toBe("context");
    // The last token needs no room: nothing is computed after it.
    expect(result.ids).toEqual(greedy.slice(0, 8));
    await expect(small.complete(new Array<number>(11).fill(1))).rejects.toMatchObject({ code: "usage" });
    await small.dispose();
  });

  it("aborts: the stream throws, complete keeps what there is, and the model goes on working", async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      for await (const { id } of model.generate(PROMPT, { maxTokens: 40, signal: controller.signal })) {
        seen.push(id);
        if (seen.length === 5) controller.abort();
      }
    };
    await expect(run()).rejects.toMatchObject({ code: "interrupted" });
    expect(seen).toEqual(greedy.slice(0, 5));
    const result = await model.complete(PROMPT, { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ ids: [], text: "", stopReason: "aborted" });
    expect((await model.complete(PROMPT, { maxTokens: 40 })).ids).toEqual(greedy);
  });

  it("computes only what is new in a conversation", async () => {
    model.reset();
    const first = await model.complete(PROMPT, { maxTokens: 6 });
    const next = [...PROMPT, ...first.ids, 9, 9];
    const second = await model.complete(next, { maxTokens: 3 });
    // The last generated token was never run.
    expect(second.reusedTokens).toBe(PROMPT.length + first.ids.length - 1);
    model.reset();
    expect((await model.complete(next, { maxTokens: 3 })).ids).toEqual(second.ids);
    expect((await model.complete(next, { maxTokens: 3 })).reusedTokens).toBe(next.length - 1);
  });

  it("chats by the template", async () => {
    const messages = [{ role: "user", content: "hi" }];
    expect(model.encodeChat(messages)).toEqual([...new TextEncoder().encode("<user>hi<assistant>")]);
    const ids: number[] = [];
    for await (const { id } of model.chat(messages, { maxTokens: 4 })) ids.push(id);
    expect(ids).toEqual((await model.complete("<user>hi<assistant>", { maxTokens: 4 })).ids);
  });

  it("samples alike with the same seed", async () => {
    const sample = async (seed: number): Promise<readonly number[]> =>
      (await model.complete(PROMPT, { maxTokens: 20, temperature: 1.5, topP: 0.95, seed })).ids;
    expect(await sample(1)).toEqual(await sample(1));
    expect(await sample(1)).not.toEqual(await sample(2));
  });

  it.each([
    [[], {}],
    [[1.5], {}],
    [[300], {}],
    [[-1], {}],
    [PROMPT, { maxTokens: -1 }],
    [PROMPT, { temperature: -1 }],
  ])("refuses prompt %j with %j in one sentence", async (prompt, options) => {
    await expect(async () => model.complete(prompt, options)).rejects.toMatchObject({ code: "usage" });
  });

  it("needs a tokenizer for text only", async () => {
    const bare = await loadModel(tinyModel({ seed: 5 }), undefined, { threads: 1 });
    await expect(async () => bare.complete("hi")).rejects.toMatchObject({ code: "usage" });
    expect((await bare.complete(PROMPT, { maxTokens: 5 })).ids).toEqual(greedy.slice(0, 5));
    await bare.dispose();
  });
});
