import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { chooseTextFormat, joinRows, splitDocuments } from "./corpus-text.js";
import { encodeCorpus, windowsOf } from "./corpus.js";
import type { Tokenizer } from "./types.js";

const END = "<|endoftext|>";
const END_ID = 1_000_000;

/** One token a code point, and one for the end of a text. */
function characterTokenizer(special: { bosId?: number; eosId?: number }): Tokenizer {
  return {
    vocabSize: END_ID + 1,
    ...special,
    stopIds: new Set(),
    encode: (text) =>
      text
        .split(END)
        .flatMap((part, i) => [
          ...(i === 0 ? [] : [END_ID]),
          ...Array.from(part, (c) => c.codePointAt(0) ?? 0),
        ]),
    decode: (ids) => ids.map((id) => (id === END_ID ? END : String.fromCodePoint(id))).join(""),
    renderChat: () => undefined,
  };
}

const both = characterTokenizer({ bosId: END_ID, eosId: END_ID });
const codes = (text: string): number[] => Array.from(text, (c) => c.codePointAt(0) ?? 0);
const sha = (text: string): string => createHash("sha256").update(text).digest("hex");

describe("choosing how to read a text", () => {
  const choose = (fileName: string, text: string, more: object = {}) =>
    chooseTextFormat({ fileName, text, endTexts: [END], ...more });

  it("goes by request, then separator, then extension, then content", () => {
    expect(choose("wiki.test.raw", "a")).toMatchObject({ format: "rows" });
    expect(choose("a.txt", "a")).toMatchObject({ format: "plain" });
    expect(choose("a.txt", `a${END}b`)).toMatchObject({ format: "documents", separator: END });
    expect(choose("a.txt", "a---b", { separator: "---" })).toMatchObject({
      format: "documents",
      separator: "---",
    });
    expect(choose("a.jsonl", "")).toMatchObject({ format: "documents", jsonLines: true });
    expect(choose("wiki.raw", "a", { format: "plain" })).toEqual({ format: "plain", jsonLines: false });
    expect(choose("a.jsonl", "a", { format: "plain" })).toEqual({ format: "plain", jsonLines: false });
  });

  it("refuses a separator where nothing is separated", () => {
    expect(() => choose("a.txt", "a", { format: "rows", separator: "x" })).toThrow(/rows/);
    expect(() => choose("a.jsonl", "a", { separator: "x" })).toThrow(/each line/);
    expect(() => choose("a.txt", "a", { separator: "" })).toThrow(/empty/);
  });
});

describe("rows", () => {
  it("join with two newlines, blank rows empty", () => {
    // As the data set library gives WikiText: " \n" reads "", every other row keeps its newline.
    expect(joinRows(" \n = Title = \n \n Text .\n")).toBe("\n\n = Title = \n\n\n\n\n Text .\n");
    expect(joinRows("a\nb")).toBe("a\n\n\nb");
    expect(joinRows("a\n")).toBe("a\n");
  });
});

describe("documents", () => {
  it("are trimmed; empty ones are dropped", () => {
    const reading = { format: "documents", separator: END, jsonLines: false } as const;
    expect(splitDocuments(`\n one \n${END}\n\n${END}two${END}\n`, reading, "a.txt")).toEqual(["one", "two"]);
  });

  it("come from JSON lines, and a bad line is named by its number", () => {
    const reading = { format: "documents", jsonLines: true } as const;
    expect(splitDocuments('{"text":"a"}\n\n{"text":" b ","id":3}\r\n', reading, "a.jsonl")).toEqual([
      "a",
      "b",
    ]);
    expect(() => splitDocuments('{"text":"a"}\n\n{"text":', reading, "a.jsonl")).toThrow(
      /Line 3 of a\.jsonl is not JSON/,
    );
    expect(() => splitDocuments('{"txt":"a"}', reading, "a.jsonl")).toThrow(
      /Line 1 of a\.jsonl has no string field/,
    );
    expect(() => splitDocuments("null", reading, "a.jsonl")).toThrow(/Line 1/);
  });
});

describe("encodeCorpus", () => {
  it("puts bos before each document and eos after the last", async () => {
    const corpus = await encodeCorpus("a.txt", `ab${END} c `, both);
    expect([...corpus.ids]).toEqual([END_ID, ...codes("ab"), END_ID, ...codes("c"), END_ID]);
    expect(corpus.textSha256).toBe(sha(`${END}ab${END}c${END}`));
    expect(corpus.documents).toBe(2);
    const eosOnly = await encodeCorpus("a.txt", "x|y", characterTokenizer({ eosId: 7 }), { separator: "|" });
    expect([...eosOnly.ids]).toEqual([7, ...codes("x"), 7, ...codes("y"), 7]);
  });

  it("adds nothing to plain text and rows unless asked for a bos", async () => {
    expect([...(await encodeCorpus("a.txt", " é\n", both)).ids]).toEqual(codes(" é\n"));
    const rows = await encodeCorpus("a.raw", "a\n", both, { addBos: true });
    expect([...rows.ids]).toEqual([END_ID, ...codes("a\n")]);
    expect(rows.textSha256).toBe(sha("a\n"));
    expect((await encodeCorpus("a.txt", " é\n", both)).textBytes).toBe(4);
  });

  it("says what is wrong with a text that cannot be used", async () => {
    await expect(encodeCorpus("a.txt", "", both)).rejects.toThrow(/holds no text/);
    await expect(encodeCorpus("a.txt", " \n\n", both)).rejects.toThrow(/holds no text/);
    await expect(encodeCorpus("a.txt", END, both)).rejects.toThrow(/only empty documents/);
    await expect(encodeCorpus("a.txt", "a|b", characterTokenizer({}), { separator: "|" })).rejects.toThrow(
      /neither a bos/,
    );
    await expect(encodeCorpus("a.txt", "a", characterTokenizer({}), { addBos: true })).rejects.toThrow(
      /has none/,
    );
  });
});

describe("windowsOf", () => {
  it("cuts windows without overlap and refuses a text that holds none", () => {
    const corpus = { ids: Int32Array.of(0, 1, 2, 3, 4, 5, 6), description: "a.txt" };
    expect(windowsOf(corpus, 3).map((window) => [...window])).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(windowsOf(corpus, 3, 1)).toHaveLength(1);
    expect(() => windowsOf(corpus, 8)).toThrow(/has 7 tokens/);
  });
});
