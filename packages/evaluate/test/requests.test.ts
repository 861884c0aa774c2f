import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { TASKS } from "../src/tasks/registry.js";
import { readTaskRows } from "../src/tasks/read-rows.js";
import type { TaskDefinition, TaskRow } from "../src/tasks/types.js";
import { describeWithShared, readLines, sharedPath } from "./shared-files.js";

interface Expected {
  readonly data: unknown;
  /** Pairs of context and continuation. */
  readonly requests: readonly [string, string][];
  readonly gold: number;
}

interface HarnessRow {
  readonly requests: readonly { readonly context: string; readonly continuation: string }[];
  readonly gold: number;
}

const fixture = <T>(name: string): T =>
  JSON.parse(readFileSync(join(import.meta.dirname, "data", name), "utf8")) as T;

function taskNamed(name: string): TaskDefinition {
  const task = TASKS.find((one) => one.name === name);
  if (task === undefined) throw new Error(`no task ${name}`);
  return task;
}

function rowOf(task: string, data: unknown): TaskRow {
  return readTaskRows(taskNamed(task), "rows.jsonl", JSON.stringify(data))[0];
}

const pairs = ({ requests }: TaskRow): [string, string][] =>
  requests.map(({ context, continuation }) => [context, continuation]);

describe("requests", () => {
  const expected = fixture<Record<string, Expected[]>>("task-rows.json");

  it("are there for every task", () => {
    expect(Object.keys(expected).sort()).toEqual(TASKS.map(({ name }) => name).sort());
  });

  it.each(Object.entries(expected))("of %s are the harness's", (name, rows) => {
    expect(rows.length).toBeGreaterThan(2);
    for (const { data, requests, gold } of rows) {
      const row = rowOf(name, data);
      expect(pairs(row)).toEqual(requests);
      expect(row.gold).toBe(gold);
      // The lengths that accNorm divides by are those of the texts without the blank in front.
      if (row.choices) expect(requests.map(([, text]) => text.slice(1))).toEqual(row.choices);
    }
  });

  it("of raw HellaSwag rows are cleaned as the harness does", () => {
    const rows =
      fixture<{ input: Record<string, unknown>; query: string; choices: string[]; gold: number }[]>(
        "hellaswag-preprocess.json",
      );
    expect(rows.length).toBeGreaterThan(3);
    for (const { input, query, choices, gold } of rows) {
      const row = rowOf("hellaswag", input);
      expect(pairs(row)).toEqual(choices.map((choice) => [query, ` ${choice}`]));
      expect(row).toMatchObject({ gold, choices });
    }
  });

  it("have no accNorm where the harness reports none", () => {
    const accOnly = Object.entries(expected).filter(([name, [{ data }]]) => !rowOf(name, data).choices);
    expect(accOnly.map(([name]) => name).sort()).toEqual(["boolq", "winogrande"]);
  });

  it("are read from SuperGLUE's BoolQ and from labels in digits too", () => {
    const boolq = { passage: "P", question: "q" };
    expect(rowOf("boolq", { ...boolq, label: 1 })).toEqual(rowOf("boolq", { ...boolq, answer: true }));
    const piqa = { goal: "g", sol1: "a", sol2: "b" };
    expect(rowOf("piqa", { ...piqa, label: "1" })).toEqual(rowOf("piqa", { ...piqa, label: 1 }));
    const stem = { question_stem: "s", choices: { text: ["x", "y"], label: ["1", "2"] }, answerKey: " 2" };
    expect(rowOf("openbookqa", stem).gold).toBe(1);
  });
});

describeWithShared("every row of the data sets", ["data/zeroshot", "reference/zeroshot_requests"], () => {
  it.each(TASKS.map(({ name }) => name))("of %s asks what the harness asks", (name) => {
    const text = readFileSync(sharedPath("data/zeroshot", `${name}.jsonl`), "utf8");
    const rows = readTaskRows(taskNamed(name), `${name}.jsonl`, text);
    const harness = readLines<HarnessRow>(sharedPath("reference/zeroshot_requests", `${name}.jsonl.gz`));
    expect(rows).toHaveLength(harness.length);
    rows.forEach(({ row, requests, gold }, i) => {
      expect({ row, requests, gold }).toEqual({
        row: i,
        requests: harness[i].requests,
        gold: harness[i].gold,
      });
    });
  });
});
