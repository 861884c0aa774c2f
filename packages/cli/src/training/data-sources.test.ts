import { expect, it } from "vitest";
import type { Corpus } from "@subbit/core";
import { readTrainingData, type DataRequest } from "./data-sources.js";

/** Texts of known lengths whose ids tell which text they are from. */
const lengths: Record<string, number> = { a: 100, b: 40 };
const corpus = (file: string): Corpus => ({
  ids: new Int32Array(lengths[file]).fill(file.charCodeAt(0)),
  textSha256: "",
  textBytes: 0,
  format: "plain",
  description: `${file}, plain`,
});
const request = (more: Partial<DataRequest>): DataRequest => ({
  sources: [
    { kind: "file", path: "a" },
    { kind: "file", path: "b" },
  ],
  seqlen: 10,
  seed: 0,
  read: (file) => Promise.resolve(corpus(file)),
  writeSelf: (tokens) => Promise.resolve({ ids: new Int32Array(tokens).fill(7), name: "self" }),
  ...more,
});
const countOf = (ids: Int32Array, id: number): number => ids.filter((one) => one === id).length;

it("passes over every text once where nothing is said", async () => {
  const { windows, names } = await readTrainingData(request({}));
  expect(windows.count).toBe(14);
  expect([countOf(windows.ids, 97), countOf(windows.ids, 98)]).toEqual([100, 40]);
  expect(names).toEqual(["a, plain", "b, plain"]);
});

it("shares the tokens out by weight and says how often a text comes", async () => {
  const { windows, names } = await readTrainingData(
    request({
      sources: [
        { kind: "file", path: "a" },
        { kind: "file", path: "b", weight: 2 },
        { kind: "self", tokens: 30, weight: 1 },
      ],
      tokens: 240,
    }),
  );
  expect([97, 98, 7].map((id) => countOf(windows.ids, id))).toEqual([60, 120, 60]);
  expect(names).toEqual([
    "a, plain: 6 of 10 windows",
    "b, plain: 4 windows 3 times",
    "self: 3 windows 2 times",
  ]);
});

it("names the text that is too short", async () => {
  await expect(readTrainingData(request({ seqlen: 50 }))).rejects.toThrow(/b, plain holds only 40/);
});

it("has the teacher write nothing where a file is bad or too little is asked", async () => {
  const written: number[] = [];
  const writeSelf = (tokens: number): Promise<never> => {
    written.push(tokens);
    return Promise.reject(new Error("The teacher was asked."));
  };
  const self = { kind: "self", tokens: 30 } as const;
  const absent = { kind: "file", path: "absent" } as const;
  const read = (): Promise<never> => Promise.reject(new Error("There is no such file."));
  await expect(readTrainingData(request({ sources: [self, absent], writeSelf, read }))).rejects.toThrow(
    /no such/,
  );
  await expect(readTrainingData(request({ sources: [self], writeSelf, seqlen: 31 }))).rejects.toThrow(
    /self:30/,
  );
  expect(written).toEqual([]);
});
