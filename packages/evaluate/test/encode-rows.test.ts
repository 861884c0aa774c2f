import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openTokenizer, SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { encodeRows } from "../src/tasks/encode-rows.js";
import { readTaskRows } from "../src/tasks/read-rows.js";
import { TASKS } from "../src/tasks/registry.js";
import type { ChoiceRequest } from "../src/tasks/types.js";
import { describeWithShared, sharedPath } from "./shared-files.js";
import { createTokenizerFrom } from "./toy-tokenizer.js";

const toy = createTokenizerFrom(["a", "b", "c", " ", "\n", " a", "ab", "b c"]);

async function split(
  requests: readonly ChoiceRequest[],
  { tokenizer = toy, maxTokens = 100 } = {},
): Promise<[string, string][]> {
  const rows = [{ row: 0, requests, gold: 0 }];
  const [{ choices }] = await encodeRows(rows, tokenizer, { name: "toy", maxTokens });
  return choices.map(({ ids, contextTokens }) => [
    tokenizer.decode([...ids.subarray(0, contextTokens)]),
    tokenizer.decode([...ids.subarray(contextTokens)]),
  ]);
}

const one = (context: string, continuation: string): ChoiceRequest[] => [{ context, continuation }];

describe("tokens of context and continuation", () => {
  it("are split where the context's own tokens end", async () => {
    expect(await split(one("cb", " a"))).toEqual([["cb", " a"]]);
  });

  it("give white space at the context's end to the continuation", async () => {
    // Split as given, the blank would be a token of its own.
    expect(await split(one("cb ", "a"))).toEqual([["cb", " a"]]);
    expect(await split(one("cb\n ", "a"))).toEqual([["cb", "\n a"]]);
  });

  it("are those of the whole text beyond the context's, even where a token spans the border", async () => {
    // whole: [b c] [b]; context: [b]. The model reads b and what is left after one token.
    expect(await split(one("b", " cb"))).toEqual([["b", "b"]]);
  });

  it("begin with the tokenizer's own bos, once in both", async () => {
    const tokenizer = createTokenizerFrom(["a", "b", " a"], { bos: "<s>", addBos: true });
    expect(await split(one("b", " a"), { tokenizer })).toEqual([["<s>b", " a"]]);
  });

  it("have the bos (else eos) token for an empty context", async () => {
    const withEos = createTokenizerFrom(["a", "b"], { eos: "</s>" });
    expect(await split(one("", "ab"), { tokenizer: withEos })).toEqual([["</s>", "ab"]]);
    const withBos = createTokenizerFrom(["a", "b", " "], { bos: "<s>", eos: "</s>" });
    expect(await split(one(" ", "ab"), { tokenizer: withBos })).toEqual([["<s>", " ab"]]);
    expect(await split(one("", "<s>ab"), { tokenizer: withBos })).toEqual([["<s>", "ab"]]);
    await expect(split(one("", "a"))).rejects.toThrow(/no bos or eos/);
  });

  it("lose the beginning where the text is too long: the last token is predicted, not read", async () => {
    expect(await split(one("cccc", " a"), { maxTokens: 5 })).toEqual([["cccc", " a"]]);
    expect(await split(one("cccc", " a"), { maxTokens: 4 })).toEqual([["cccc", " a"]]);
    expect(await split(one("cccc", " a"), { maxTokens: 3 })).toEqual([["ccc", " a"]]);
    expect(await split(one("cccc", "cc"), { maxTokens: 2 })).toEqual([["c", "cc"]]);
    await expect(split(one("cccc", "ccc"), { maxTokens: 2 })).rejects.toThrow(
      /choice of 3 tokens.* 2 at most/,
    );
  });

  it("are refused where a choice has none of its own", async () => {
    await expect(split(one("a", "b"))).rejects.toThrow(/Row 0 of toy has a choice without tokens/);
  });

  it("stop when the signal fires", async () => {
    const rows = [{ row: 0, requests: one("a", " a"), gold: 0 }];
    const run = encodeRows(rows, toy, { name: "toy", maxTokens: 9, signal: AbortSignal.abort() });
    await expect(run).rejects.toThrow(SubbitError);
  });
});

interface ReferenceRow {
  readonly requests: readonly {
    readonly context_tokens: number;
    readonly continuation_ids: readonly number[];
  }[];
}

describeWithShared(
  "tokens that the harness gives SmolLM2",
  ["data/zeroshot", "reference/zeroshot_smollm2.json", "fixtures/tokenizers/smollm2"],
  () => {
    it("are ours, for the first rows of every task", async () => {
      const folder = sharedPath("fixtures/tokenizers/smollm2");
      const tokenizer = await openTokenizer({
        name: "smollm2",
        config: {},
        readText: (name: string) =>
          Promise.resolve(name === "chat_template.jinja" ? undefined : readOptional(join(folder, name))),
      } as unknown as Parameters<typeof openTokenizer>[0]);
      const { tasks } = JSON.parse(readFileSync(sharedPath("reference/zeroshot_smollm2.json"), "utf8")) as {
        tasks: Record<string, { per_row: ReferenceRow[] }>;
      };
      for (const task of TASKS) {
        const text = readFileSync(sharedPath("data/zeroshot", `${task.name}.jsonl`), "utf8");
        const expected = tasks[task.name].per_row;
        const rows = readTaskRows(task, task.name, text, { limit: expected.length });
        const encoded = await encodeRows(rows, tokenizer, { name: task.name, maxTokens: 8192 });
        encoded.forEach(({ choices }, i) => {
          expect(
            choices.map(({ ids, contextTokens }) => ({
              context_tokens: contextTokens,
              continuation_ids: [...ids.subarray(contextTokens)],
            })),
          ).toMatchObject(
            expected[i].requests.map(({ context_tokens, continuation_ids }) => ({
              context_tokens,
              continuation_ids,
            })),
          );
        });
      }
    });
  },
);

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
