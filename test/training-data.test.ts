/** What `train` learns from, through the command: weighted files, text that the teacher writes, curves for TensorBoard. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { END_OF_TEXT, tinyText, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const teacher = writeTinyModel(at("model"));
const packed = at("packed");
const plain = at("plain.txt");
const lines = at("lines.jsonl.gz");
writeFileSync(plain, tinyText(40, 5));
const records = tinyText(40, 6)
  .split(END_OF_TEXT)
  .map((content) => `${JSON.stringify({ content })}\n`);
writeFileSync(lines, gzipSync(records.join("")));

beforeAll(async () => {
  const size = ["--bpw", "2.5", "--samples", "4", "--seqlen", "64", "--method", "dbf", "--iterations", "10"];
  const run = await runCli(
    ["compress", teacher, packed, "--calibration", plain, ...size, "--tune", "none", "--allocate", "uniform"],
    {},
  );
  expect(run.exitCode, run.stderr).toBe(0);
}, 120_000);

const train = (out: string, ...more: string[]): string[] => [
  "train",
  packed,
  at(out),
  "--teacher",
  teacher,
  ...["--seqlen", "32", "--tokens", "256", "--seed", "4", "--text-column", "content", ...more],
];

describe("train", () => {
  it("mixes files by weight with text of the teacher's, the same by seed whatever the threads", async () => {
    const data = ["--data", `${plain}:2`, "--data", `${lines}:1`, "--data", "self:100:1"];
    const run = (out: string, threads: string): Promise<{ steps: number; tokens: number }> =>
      runJson(train(out, ...data, "--work", at(`${out}-work`), "--threads", threads));
    expect(await run("one", "1")).toMatchObject({ tokens: 256 });
    await run("two", "2");
    const self = readFileSync(at("one-work", "self-4.jsonl"), "utf8");
    expect(readFileSync(at("two-work", "self-4.jsonl"), "utf8")).toBe(self);
    const documents = self
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => JSON.parse(line) as number[]);
    expect(documents.flat().length).toBeGreaterThanOrEqual(100);
    for (const ids of documents) expect(ids[0]).toBe(256);
    const manifest = readFileSync(at("one", "subbit.json"), "utf8");
    // Eight windows, shared out 2 : 1 : 1.
    expect(manifest).toMatch(/plain\.txt[^"]*: 4 of \d+ windows/);
    expect(manifest).toMatch(/lines\.jsonl\.gz[^"]*: 2 of \d+ windows/);
    expect(manifest).toMatch(/100 tokens by the teacher: 2 of 3 windows/);
  }, 120_000);

  it("writes an event file for TensorBoard", async () => {
    await runJson(train("curves", "--data", plain, "--tensorboard", at("board")));
    const events = readFileSync(at("board", "events.out.tfevents.subbit"), "latin1");
    expect(events).toContain("brain.Event:2");
    expect(events.split("train/loss").length - 1).toBe(8);
  }, 60_000);

  it.each([
    [["--data", "absent.parquet"], 3, /absent\.parquet.*no such file/],
    [["--data", "self:20"], 2, /self:20 asks for fewer tokens/],
    [["--data", "self:many"], 2, /whole number/],
    [["--data", `${"plain.txt"}:-1`], 2, /weight/],
  ])(
    "ends with one sentence and nothing written for %j",
    async (data, exitCode, message) => {
      const run = await runCli(train("refused", ...data));
      expect(run.exitCode, run.stderr).toBe(exitCode);
      expect(run.stderr).toMatch(message);
      expect(readdirSync(folder).filter((name) => name.startsWith("refused"))).toEqual([]);
    },
    60_000,
  );
});
