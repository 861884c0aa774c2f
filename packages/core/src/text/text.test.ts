/** What the golden vectors do not reach: hostile templates and files, damaged token streams, corrected library behaviour. */
import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../checkpoints/types.js";
import { createChatTemplate } from "./chat-template.js";
import { TokenStreamDecoder } from "./token-stream-decoder.js";
import { openTokenizer } from "./tokenizer.js";
import type { Tokenizer } from "./types.js";

function checkpointOf(files: Record<string, unknown>, config: Record<string, unknown> = {}): Checkpoint {
  const text = (name: string): string | undefined => {
    const file = files[name];
    return file === undefined || typeof file === "string" ? file : JSON.stringify(file);
  };
  return {
    format: "safetensors",
    name: "the model",
    tensors: new Map(),
    fileBytes: 0,
    config,
    notes: [],
    readRaw: () => Promise.reject(new Error("no tensors")),
    readF32: () => Promise.reject(new Error("no tensors")),
    readText: (name) => Promise.resolve(text(name)),
    close: () => Promise.resolve(),
  };
}

const hex = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

/** Ids 0..255 are bytes, then a few pieces. */
const BYTE_FALLBACK = {
  model: {
    type: "BPE",
    vocab: Object.fromEntries([
      ...Array.from({ length: 256 }, (_, byte) => [hex(byte), byte]),
      ["▁", 256],
      ["a", 257],
      ["▁a", 258],
      ["</s>", 259],
    ]),
    merges: ["▁ a"],
    byte_fallback: true,
    unk_token: null,
  },
  added_tokens: [{ id: 259, content: "</s>", special: true, normalized: false }],
  normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
};

const open = (
  files: Record<string, unknown> = {},
  config: Record<string, unknown> = {},
): Promise<Tokenizer> => openTokenizer(checkpointOf({ "tokenizer.json": BYTE_FALLBACK, ...files }, config));

const bytesOf = (text: string): number[] => [...new TextEncoder().encode(text)];

describe("tokenizers", () => {
  it("decode bytes as the reference does: a mark stays, a run that is not UTF-8 becomes one U+FFFD a byte", async () => {
    const tokenizer = await open();
    expect(tokenizer.decode([0xef, 0xbb, 0xbf, 257])).toBe("\ufeffa");
    expect(tokenizer.decode([257, ...bytesOf("é"), 0xff, 257])).toBe("a\ufffd\ufffd\ufffda");
    expect(tokenizer.decode([257, 99999, 257])).toBe("aa");
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.encode("a\u0085a")).toEqual([257, 0xc2, 0x85, 257]);
  });

  it("find special ids in tokenizer_config.json, generation_config.json and config.json", async () => {
    const tokenizer = await open(
      {
        "tokenizer_config.json": { eos_token: { content: "</s>" } },
        "generation_config.json": { eos_token_id: [3, 259] },
      },
      { eos_token_id: 7, bos_token_id: 1 },
    );
    expect([tokenizer.eosId, tokenizer.bosId, tokenizer.vocabSize]).toEqual([259, 1, 260]);
    expect([...tokenizer.stopIds].sort((a, b) => a - b)).toEqual([3, 7, 259]);
    expect(tokenizer.decode([257, 259])).toBe("a</s>");
    expect(tokenizer.decode([257, 259], { skipSpecialTokens: true })).toBe("a");
    expect(tokenizer.renderChat([{ role: "user", content: "hi" }])).toBeUndefined();
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["no tokenizer.json", { "tokenizer.json": undefined }, /has no tokenizer\.json/],
    ["broken JSON", { "tokenizer.json": "{" }, /not valid JSON/],
    ["no vocabulary", { "tokenizer.json": {} }, /malformed at model/],
    ["a negative id", { "tokenizer.json": { model: { vocab: { a: -1 } } } }, /malformed at model\.vocab/],
    ["a huge id", { "tokenizer.json": { model: { vocab: { a: 2 ** 52 } } } }, /malformed at model\.vocab/],
    [
      "an unknown model",
      { "tokenizer.json": { model: { type: "?", vocab: { a: 0 }, merges: [] } } },
      /malformed at model\.type/,
    ],
    [
      "a wrong side file",
      { "generation_config.json": { eos_token_id: "x" } },
      /generation_config\.json.*eos_token_id/,
    ],
  ])("refuse %s", async (_, files, message) => {
    await expect(open(files)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message) as string,
    });
  });
});

describe("damaged tokenizers", () => {
  it("give text, ids or an input error, whatever part is replaced", async () => {
    const json = JSON.stringify(BYTE_FALLBACK);
    const paths = [...json.matchAll(/:/g)].map((match) => match.index);
    for (let i = 0; i < 300; i++) {
      const at = paths[Math.floor(Math.random() * paths.length)];
      const junk = ["null", "5", '"x"', "[]", "{}", "-1", "[[1]]", '{"type":"Split"}'][i % 8];
      const rest = json.slice(at + 1).replace(/^("[^"]*"|[\d]+|true|false|null)/, junk);
      try {
        const tokenizer = await open({ "tokenizer.json": json.slice(0, at + 1) + rest });
        tokenizer.decode(tokenizer.encode("a é", { addSpecialTokens: true }), { skipSpecialTokens: true });
      } catch (error) {
        expect(error, rest.slice(0, 80)).toMatchObject({ code: "input" });
      }
    }
  });
});

describe("the streaming decoder", () => {
  const stream = (tokenizer: Tokenizer, ids: readonly number[], context?: readonly number[]): string[] => {
    const decoder = new TokenStreamDecoder(tokenizer, context ? { context } : {});
    return [...ids.map((id) => decoder.push(id)), decoder.flush()];
  };

  it("gives a character with its last byte and never a part of it", async () => {
    const tokenizer = await open();
    const ids = [257, ...bytesOf("é🙂日"), 258, ...bytesOf("\u0301")];
    expect(stream(tokenizer, ids)).toEqual([
      "a",
      "",
      "é",
      "",
      "",
      "",
      "🙂",
      "",
      "",
      "日",
      " a",
      "",
      "\u0301",
      "",
    ]);
  });

  it("keeps the first token's space where text came before, and drops it where none did", async () => {
    const tokenizer = await open();
    expect(stream(tokenizer, [258, 258], [257])).toEqual([" a", " a", ""]);
    expect(stream(tokenizer, [258, 258])).toEqual(["a", " a", ""]);
    expect(stream(tokenizer, [259, 258, 259, 258])).toEqual(["", "a", "", " a", ""]);
  });

  it("lets bytes that never become text go, in bounded memory", async () => {
    const tokenizer = await open();
    const pieces = stream(tokenizer, new Array<number>(1000).fill(0xff));
    const text = pieces.join("");
    expect(text).toMatch(/^\ufffd+$/);
    expect(text.length).toBe(1000);
    expect(stream(tokenizer, [0xf0, 0x9f, 257])).toEqual(["", "", "\ufffd\ufffda", ""]);
    expect(stream(tokenizer, [257, 0xf0])).toEqual(["a", "", "\ufffd"]);
  });
});

describe("chat templates", () => {
  const render = (template: string): string =>
    createChatTemplate(template, { bos_token: "<s>" }, "the model").render([
      { role: "user", content: "hello" },
    ]);

  it("trim blocks and know the names that templates use", () => {
    expect(
      render("{{ bos_token }}\n  {% for m in messages %}\n{{ m.role }}: {{ m['content'] }}\n{% endfor %}\n"),
    ).toBe("<s>\nuser: hello\n");
    expect(
      render("{% for i in range(2, 8, 3) %}{{ i }},{% endfor %}{{ strftime_now('%%%d') | length }}"),
    ).toBe("2,5,3");
  });

  /** Far above what the budget takes on a busy machine; a hang would run into the test's own limit. */
  const SOON_MS = 20_000;

  it.each([
    ["a huge range", "{% for i in range(10**9) %}x{% endfor %}", /range\(\) of 1000000000/],
    [
      "nested loops",
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      /too many steps/,
    ],
    [
      "doubled text",
      "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
      /too long/,
    ],
    [
      "doubled lists",
      "{% set ns = namespace(s=['x']) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
      /too long|too deeply/,
    ],
    ["endless recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", /./],
    ["deep parentheses", `{{ ${"(".repeat(100_000)}1${")".repeat(100_000)} }}`, /./],
    ["a template of megabytes", "x".repeat(2_000_000), /2000000 characters/],
    ["a syntax error", "{% if %}", /not valid/],
    ["an unknown filter", "{{ 'x' | nope }}", /failed/],
    ["raise_exception", "{{ raise_exception('No system role') }}", /refuses these messages: No system role/],
  ])("end %s with an input error", (_, template, message) => {
    const start = Date.now();
    expect(() => render(template)).toThrow(
      expect.objectContaining({ code: "input", message: expect.stringMatching(message) as string }),
    );
    expect(Date.now() - start).toBeLessThan(SOON_MS);
  });
});
