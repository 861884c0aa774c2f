import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GenerateOptions, GenerationResult } from "@subbit/runtime";
import { selfText, type SelfTeacher, type SelfTextOptions } from "./self-text.js";

const root = mkdtempSync(join(tmpdir(), "subbit-self-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let files = 0;
const newFile = (): string => join(root, "work", `${files++}.jsonl`);

const VOCAB = 50;
const BOS = 1;
const END = 2;

interface Call {
  readonly prompt: readonly number[];
  readonly options: GenerateOptions;
}

/** Answers from the prompt and the options alone, as a model does; every eleventh draw ends the document. */
function teacher(calls: Call[] = []): SelfTeacher {
  return {
    name: "fake",
    vocabSize: VOCAB,
    contextTokens: 40,
    async *generate(prompt, options = {}) {
      const before = [...(prompt as readonly number[])];
      calls.push({ prompt: [...before], options });
      for (let n = 0; n < (options.maxTokens ?? 0); n++) {
        const state = before.reduce((sum, id) => (sum * 31 + id) >>> 0, (options.seed ?? 7) >>> 0);
        const id = state % 11 === 0 ? END : 3 + (state % (VOCAB - 3));
        before.push(id);
        yield { id, text: "" };
      }
      return NOTHING;
    },
  };
}

/** What a generation says of itself at its end; not looked at here. */
const NOTHING: GenerationResult = {
  text: "",
  ids: [],
  promptTokens: 0,
  reusedTokens: 0,
  prefillTokensPerSecond: 0,
  decodeTokensPerSecond: 0,
  stopReason: "length",
};

const options = (file: string, more: Partial<SelfTextOptions> = {}): SelfTextOptions => ({
  startId: BOS,
  stopIds: new Set([END]),
  tokens: 500,
  seed: 9,
  file,
  teacherSha256: "ab",
  ...more,
});
const open = (calls?: Call[]) => () => Promise.resolve(teacher(calls));

describe("selfText", () => {
  it("gives as many tokens as asked, in documents that begin with the start token", async () => {
    const file = newFile();
    const calls: Call[] = [];
    const { ids } = await selfText(open(calls), options(file));
    expect(ids).toHaveLength(500);
    const documents = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => JSON.parse(line) as number[]);
    expect([...ids]).toEqual(documents.flat().slice(0, 500));
    for (const document of documents) {
      expect(document[0]).toBe(BOS);
      expect(document.slice(1)).not.toContain(END);
      expect(document.length).toBeLessThanOrEqual(40);
    }
    // One drawn token, three to five most likely ones, then draws: LLM-QAT's order.
    const fromStart = calls.filter(({ prompt }) => prompt.length === 1);
    expect(fromStart).toHaveLength(documents.length);
    for (const { options: first } of fromStart) expect(first).toMatchObject({ temperature: 1, maxTokens: 1 });
    const greedy = calls.filter(({ prompt }) => prompt.length === 2).map((call) => call.options);
    expect(greedy.every(({ temperature }) => temperature === 0)).toBe(true);
    expect(new Set(greedy.map(({ maxTokens }) => maxTokens))).toEqual(new Set([3, 4, 5]));
    const rest = calls.filter(({ prompt }) => prompt.length > 2).map((call) => call.options);
    expect(rest.every(({ temperature }) => temperature === 1)).toBe(true);
    expect(new Set(rest.map(({ seed }) => seed)).size).toBe(rest.length);
  });

  it("goes on where it was stopped, with the bytes of a run that was not", async () => {
    const [whole, cut] = [newFile(), newFile()];
    const { ids } = await selfText(open(), options(whole));
    const bytes = readFileSync(whole);
    // Cut within a line, between two, and within the header.
    for (const at of [bytes.length - 7, bytes.indexOf("\n", bytes.length / 2) + 1, 20, 0]) {
      writeFileSync(cut, bytes);
      truncateSync(cut, at);
      expect((await selfText(open(), options(cut))).ids).toEqual(ids);
      expect(readFileSync(cut).equals(bytes), `cut at ${at}`).toBe(true);
    }
    const never = (): Promise<SelfTeacher> => Promise.reject(new Error("The teacher was opened."));
    expect((await selfText(never, options(whole))).ids).toEqual(ids);
    const shorter = await selfText(never, options(whole, { tokens: 100 }));
    expect([...shorter.ids]).toEqual([...ids.subarray(0, 100)]);
    const longer = await selfText(open(), options(whole, { tokens: 900 }));
    expect([...longer.ids.subarray(0, 500)]).toEqual([...ids]);
  });

  it("differs by seed", async () => {
    const first = await selfText(open(), options(newFile()));
    const second = await selfText(open(), options(newFile(), { seed: 10 }));
    expect(second.ids).not.toEqual(first.ids);
  });

  it("keeps whole documents when the signal fires", async () => {
    const file = newFile();
    const controller = new AbortController();
    const stopped = selfText(
      open(),
      options(file, {
        signal: controller.signal,
        onProgress: ({ done }) => {
          if (done > 200) controller.abort();
        },
      }),
    );
    await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
    const whole = newFile();
    await selfText(open(), options(whole));
    const kept = readFileSync(file);
    expect(kept.length).toBeGreaterThan(100);
    expect(readFileSync(whole).subarray(0, kept.length).equals(kept)).toBe(true);
  });

  it("refuses a file of another teacher, seed or kind, and leaves it as it is", async () => {
    const file = newFile();
    await selfText(open(), options(file));
    const bytes = readFileSync(file);
    for (const more of [{ teacherSha256: "cd" }, { seed: 8 }, { startId: 3 }, { documentTokens: 10 }])
      await expect(selfText(open(), options(file, more))).rejects.toThrow(/another --work/);
    expect(readFileSync(file).equals(bytes)).toBe(true);
    for (const line of ['{"a":1}', "[1,2,-3]", "[]", "[1.5]", "nonsense"]) {
      writeFileSync(file, bytes);
      appendFileSync(file, `${line}\n`);
      await expect(selfText(open(), options(file, { tokens: 900 })), line).rejects.toThrow(/remove it/);
    }
  });
});
