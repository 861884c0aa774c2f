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

/** Makes the greedy choice never say a token twice. */
const DISTINCT = { repeatPenalty: 1e6 };

/** The same model, whose n-th token (chosen with DISTINCT) means the n-th byte of `text`. */
async function speaking(text: string): Promise<RuntimeModel> {
  const bytes = new TextEncoder().encode(text);
  const { ids } = await model.complete(PROMPT, { ...DISTINCT, maxTokens: bytes.length });
  expect(new Set(ids).size).toBe(bytes.length);
  const meaning = new Map(ids.map((id, i) => [id, bytes[i]]));
  const decode = (part: readonly number[]): string =>
    new TextDecoder().decode(Uint8Array.from(part.flatMap((id) => meaning.get(id) ?? [])));
  return loadModel(tinyModel({ seed: 5 }), { ...byteTokenizer(), decode }, { threads: 1 });
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
    const runtime = await speaking("h\u00e9llo \u{1f642} <STO ne<STOP> more");
    const options = { ...DISTINCT, maxTokens: 36 };
    const { tokens, result } = await collect(runtime, { ...options, stop: ["<STOP>", "never"] });
    expect(result).toMatchObject({ text: "h\u00e9llo \u{1f642} <STO ne", stopReason: "stop" });
    expect(tokens.map(({ text }) => text).join("")).toBe(result.text);
    expect(tokens.map(({ id }) => id)).toEqual(result.ids);
    for (const { text } of tokens) expect(text).not.toMatch(/\ufffd/);
    // A character of four bytes comes with its last token; what may be a stop string comes when it is none.
    const pieces = [
      "h",
      "",
      "\u00e9",
      "l",
      "l",
      "o",
      " ",
      "",
      "",
      "",
      "\u{1f642}",
      " ",
      "",
      "",
      "",
      "",
      "<STO ",
    ];
    expect(tokens.map(({ text }) => text).slice(0, pieces.length)).toEqual(pieces);
    // Text that only begins like a stop string is given out at the end.
    const short = await runtime.complete(PROMPT, { ...options, maxTokens: 16, stop: "<STOP>" });
    expect(short).toMatchObject({ text: "h\u00e9llo \u{1f642} <STO", stopReason: "length" });
    // An unfinished character at the end is no text.
    expect((await runtime.complete(PROMPT, { ...options, maxTokens: 9 })).text).toMatch(
      /^h\u00e9llo \ufffd?$/,
    );
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

describe("profile of a token", () => {
  it("counts the signs of every product and sums up its parts", async () => {
    const factored = { rank: 24, paths: 1, envelope: 1, mid: true };
    const runtime = await loadModel(tinyModel({ seed: 1, factored }), undefined, { threads: 1 });
    const { rows, microseconds } = await runtime.profile([1, 2, 3], { rounds: 3 });
    await runtime.dispose();
    const total = rows.reduce((sum, row) => sum + row.microseconds, 0);
    expect(microseconds).toBeCloseTo(total, 6);
    expect(rows.map(({ instruction }) => instruction)).toContain("attention");
    const { spec } = runtime;
    const perBlock = Object.values(spec.linearShapes).reduce((sum, { rows: out, cols }) => {
      const up = (n: number, to: number) => Math.ceil(n / to) * to;
      return sum + up(24, 16) * up(cols, 32) + up(out, 16) * up(24, 32);
    }, 0);
    expect(rows.reduce((sum, row) => sum + row.signs, 0)).toBe(perBlock * spec.layers);
  });
});
