import { SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { customTask } from "../src/tasks/custom.js";
import { readTaskRows, type RowRange } from "../src/tasks/read-rows.js";
import { TASKS } from "../src/tasks/registry.js";

const own = customTask("own");
const good = { context: "a", choices: ["b", "c"], gold: 1 };

function read(lines: readonly unknown[], range?: RowRange, task = own) {
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");
  return readTaskRows(task, "own.jsonl", text, range);
}

function refusal(run: () => unknown): SubbitError {
  try {
    run();
  } catch (error) {
    if (error instanceof SubbitError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("rows of one's own", () => {
  it("are read with blank lines, a byte order mark and Windows line ends", () => {
    const rows = readTaskRows(
      own,
      "own.jsonl",
      `\ufeff${JSON.stringify(good)}\r\n\r\n${JSON.stringify(good)}\r\n`,
    );
    expect(rows.map(({ row }) => row)).toEqual([0, 1]);
    expect(rows[0]).toMatchObject({
      requests: [
        { context: "a", continuation: " b" },
        { context: "a", continuation: " c" },
      ],
      choices: ["b", "c"],
      gold: 1,
    });
    expect(read([{ ...good, delimiter: "" }])[0].requests[0].continuation).toBe("b");
  });

  it("are taken from the asked range, and only those are looked at", () => {
    const lines = ["{", good, "", good, good, "["];
    expect(read(lines, { offset: 1, limit: 2 }).map(({ row }) => row)).toEqual([1, 2]);
    expect(refusal(() => read(lines)).message).toMatch(/Line 1 /);
    expect(refusal(() => read([good, good], { offset: 2 }))).toMatchObject({ code: "usage" });
    expect(refusal(() => read([good, good], { offset: 2 })).message).toMatch(/has only 2/);
  });

  it.each<[string, unknown, RegExp]>([
    ["no JSON", "{", /not JSON/],
    ["no object", [1], /expected object/],
    ["a missing field", { context: "a", gold: 0 }, /choices/],
    ["choices that are no texts", { ...good, choices: ["a", 1] }, /choices\.1: expected string/],
    ["one choice", { ...good, choices: ["a"], gold: 0 }, /1 choices/],
    ["too many choices", { ...good, choices: Array.from({ length: 257 }, () => "a") }, /257 choices/],
    ["a right choice that is not there", { ...good, gold: 2 }, /number 2/],
    ["a right choice below zero", { ...good, gold: -1 }, /gold/],
    ["a right choice that is no whole number", { ...good, gold: 0.5 }, /gold/],
    ["a choice without text", { ...good, choices: ["a", ""], delimiter: "" }, /empty/],
    ["a line without end", { ...good, context: "a".repeat(1 << 20) }, /characters/],
  ])("with %s are refused by the number of the line", (_, line, reason) => {
    const error = refusal(() => read([good, "", line]));
    expect(error.code).toBe("input");
    expect(error.message).toMatch(/^Line 3 of own\.jsonl /);
    expect(error.message).toMatch(reason);
    expect(error.message.length).toBeLessThan(300);
  });

  it("that are none are refused", () => {
    expect(refusal(() => read(["", " "])).message).toMatch(/no rows/);
  });
});

describe("rows of the named tasks", () => {
  it.each<[string, unknown, RegExp]>([
    ["boolq", { passage: "p", question: "q" }, /neither answer nor label/],
    ["piqa", { goal: "g", sol1: "a", sol2: "b", label: 2 }, /number 2/],
    ["hellaswag", { ctx_a: "a", endings: ["b", "c"], label: 0 }, /neither query nor/],
    ["hellaswag", { query: "q", endings: ["b", "c"], label: "" }, /label: not an index/],
    ["winogrande", { sentence: "no gap", option1: "a", option2: "b", answer: "1" }, /gap/],
    ["winogrande", { sentence: "a _", option1: "a", option2: "b", answer: "3" }, /answer/],
    [
      "arc_easy",
      { question: "q", choices: { text: ["a", "b"], label: ["A", "B"] }, answerKey: "C" },
      /answerKey "C"/,
    ],
    [
      "arc_challenge",
      { question: "q", choices: { text: ["a", "b"], label: ["A"] }, answerKey: "A" },
      /2 texts and 1/,
    ],
    ["openbookqa", { choices: { text: [], label: [] }, answerKey: "A" }, /question_stem/],
  ])("%s %j", (name, row, reason) => {
    const task = TASKS.find((one) => one.name === name);
    const error = refusal(() => read([row], {}, task));
    expect(error.message).toMatch(reason);
    expect(error.message).toContain(name);
  });
});
