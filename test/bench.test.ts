/** `subbit bench`: its fields and sentences, never its times; and the models with random weights that it measures. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpointAt } from "@subbit/core/node";
import { describe, expect, it } from "vitest";
import { REPOSITORY, runCli, runJson } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { TINY_CONFIG, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const PACKED = "stories-11m-0.8bpw";
const short = [
  "--warm-up",
  "0",
  "--idle",
  "0",
  "--rounds",
  "1",
  "--prefill",
  "8,4",
  "--context",
  "4",
  "--decode-tokens",
  "3",
];

const one = [...short, "--threads", "1", "--no-auto"];

interface Spread {
  median: number;
  min: number;
  max: number;
  rounds: number[];
}
interface BenchJson {
  rows: {
    engine: string;
    file: string;
    threads: number;
    auto: boolean;
    prefillTokensPerSecond: number;
    decodeTokensPerSecond: number;
    loadMs: number;
    startMs: number;
    tokenizerMs?: number;
    idleCpuPercent?: number;
    rssBytes: number;
    peakRssBytes: number;
    prefill: Record<string, Spread>;
    decode: Record<string, Spread>;
  }[];
  ratios: { against: string; threads: number | string; decode: Record<string, Spread> }[];
  machine: Record<string, unknown>;
}

describe("bench", () => {
  it("has the contract's fields, a row for every thread count and one for the runtime's choice", async () => {
    const out = join(folder, "bench.json");
    const result = await runJson<BenchJson>([
      "bench",
      PACKED,
      ...short,
      "--rounds",
      "2",
      "--idle",
      "50",
      "--threads",
      "2,1",
      "--out",
      out,
    ]);
    expect(result.rows.map(({ threads, auto }) => auto || threads)).toEqual([1, 2, true]);
    for (const row of result.rows) {
      expect(row.engine).toBe("subbit");
      expect(row.file).toBe(PACKED);
      expect(row.threads).toBeGreaterThanOrEqual(1);
      expect(row.prefillTokensPerSecond).toBe(row.prefill["8"].median);
      expect(row.decodeTokensPerSecond).toBe(row.decode["4"].median);
      expect(Object.keys(row.prefill)).toEqual(["4", "8"]);
      for (const { median, min, max, rounds } of [...Object.values(row.prefill), row.decode["4"]]) {
        expect(rounds).toHaveLength(2);
        expect(min).toBeGreaterThan(0);
        expect(median).toBeCloseTo((min + max) / 2, 6);
      }
      expect(row.startMs).toBeGreaterThan(row.loadMs);
      expect(row.loadMs).toBeGreaterThan(0);
      expect(row.idleCpuPercent).toBeGreaterThanOrEqual(0);
      expect(row.tokenizerMs).toBeGreaterThan(0);
      // A process of its own: Node and the model, not the whole command.
      expect(row.rssBytes).toBeGreaterThan(20e6);
      expect(row.peakRssBytes).toBeGreaterThanOrEqual(row.rssBytes * 0.9);
    }
    expect(result.ratios).toEqual([]);
    expect(result.machine).toHaveProperty("cpu");
    expect(JSON.parse(readFileSync(out, "utf8"))).toEqual(result);
  });

  it("compares two sources of ours round by round", async () => {
    const { rows, ratios } = await runJson<BenchJson>([
      "bench",
      PACKED,
      "--against",
      "stories-11m",
      ...short,
      "--threads",
      "1",
      "--no-auto",
    ]);
    expect(rows.map(({ file }) => file)).toEqual([PACKED, "stories-11m"]);
    expect(ratios.map(({ against, threads }) => [against, threads])).toEqual([
      ["stories-11m", 1],
      ["stories-11m", "best"],
    ]);
    expect(ratios[0].decode["4"].median).toBeCloseTo(
      rows[0].decode["4"].rounds[0] / rows[1].decode["4"].rounds[0],
      9,
    );
  });

  it("prints tables for people", async () => {
    const run = await runCli(["bench", PACKED, ...one, "--kv-bits", "8", "--sign-bits", "8"]);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toMatch(/decode @4 .*prefill 4 .*prefill 8 .*load ms .*RSS/);
    expect(run.stdout).toContain(PACKED);
  });

  it.each([
    ["no source", [], 2, "--shape"],
    ["a source and a shape", [PACKED, "--shape", "tiny"], 2, "either"],
    ["no threads", [PACKED, "--threads", "0"], 2, "at least 1"],
    ["threads that are no list", [PACKED, "--threads", "1,x"], 2, "whole number"],
    ["a prompt beyond the context", [PACKED, "--prefill", "100000"], 2, "context of the model"],
    ["a missing file", [PACKED, "--against", "absent.gguf"], 3, "no such file"],
    ["a file twice", [PACKED, "--against", "stories-11m", "stories-11m"], 2, "twice"],
    ["bits that the cache does not have", [PACKED, "--kv-bits", "5"], 2, "32"],
    ["an unknown shape", ["--shape", "llama-9000b"], 2, "llama-7b"],
    ["too few bits", ["--shape", "tiny", "--bpw", "0.01"], 3, "needs at least"],
  ])("refuses %s", async (_, args, exitCode, words) => {
    const run = await runCli(["bench", ...args]);
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toContain(words);
    expect(run.stderr.trim().split("\n")).toHaveLength(1);
  });

  it("says how to get node-llama-cpp where it is missing", async () => {
    const installed = existsSync(join(REPOSITORY, "bench/node_modules/node-llama-cpp"));
    const gguf = join(folder, "some.gguf");
    writeFileSync(gguf, "GGUF");
    const run = await runCli(["bench", PACKED, "--against", gguf, ...short], { cwd: folder });
    if (installed) expect(run.exitCode).not.toBe(0);
    else {
      expect(run.exitCode).toBe(2);
      expect(run.stderr).toContain("bench:install");
    }
  });

  it("ends at an interruption, with its children", async () => {
    let asked = false;
    const run = await runCli(
      ["bench", PACKED, "--rounds", "1000", "--threads", "1", "--decode-tokens", "8"],
      {
        onStart: (child) => {
          setTimeout(() => {
            asked = child.kill("SIGINT");
          }, 1500);
        },
      },
    );
    expect(asked).toBe(true);
    expect(run.exitCode).toBe(130);
  });
});

describe("a model with random weights", () => {
  it("is a packed model like any other, of honest size, and stays where it is to be kept", async () => {
    const kept = join(folder, "kept");
    const { rows } = await runJson<BenchJson>([
      "bench",
      "--shape",
      "tiny",
      "--bpw",
      "1.5",
      "--embed-bits",
      "4",
      "--keep",
      kept,
      ...short,
      "--threads",
      "1",
      "--no-auto",
    ]);
    expect(rows[0].file).toContain("tiny");
    const report = await runJson<{ bpw: number; fileBytes: number; bytes: Record<string, number> }>([
      "inspect",
      kept,
    ]);
    expect(report.fileBytes).toBe(statSync(join(kept, "model.safetensors")).size);
    expect(Object.values(report.bytes).reduce((sum, part) => sum + part, 0)).toBe(report.fileBytes);
    expect(report.bpw).toBeLessThanOrEqual(1.5);
    // One rank more in every linear would be too much.
    expect(report.bpw).toBeGreaterThan(1.3);
  });

  it("has finite, lively logits at every size of the tables", async () => {
    const ids = join(folder, "ids.json");
    writeFileSync(ids, "[1, 2, 3, 200, 5]");
    for (const bits of ["16", "8", "4"]) {
      const kept = join(folder, `kept-${bits}`);
      await runJson([
        "bench",
        "--shape",
        "tiny",
        "--bpw",
        "2",
        "--embed-bits",
        bits,
        "--overwrite",
        "--keep",
        kept,
        ...one,
      ]);
      const run = ["generate", kept, "--ids", ids, "--max-tokens", "20", "--temperature", "0"];
      const { ids: made } = await runJson<{ ids: number[] }>(run);
      expect(new Set(made).size, `${bits} bits`).toBeGreaterThan(2);
    }
  });

  it("comes as GGUF too, which our own reader understands", async () => {
    const file = join(folder, "tiny.gguf");
    for (const type of ["q4_0", "q4_1", "q8_0", "f16"]) {
      const run = spawnSync(
        process.execPath,
        [join(REPOSITORY, "bench/make-gguf.mjs"), "--shape", "tiny", "--type", type, file],
        { encoding: "utf8" },
      );
      expect(run.status, run.stderr).toBe(0);
      const checkpoint = await openCheckpointAt(file);
      try {
        expect(checkpoint.config).toMatchObject({ model_type: "llama", hidden_size: 96, vocab_size: 260 });
        const dtypes = [...checkpoint.tensors.values()].map(({ dtype }) => dtype);
        expect(new Set(dtypes)).toContain(type.toUpperCase());
        for (const name of checkpoint.tensors.keys()) {
          const values = await checkpoint.readF32(name);
          expect(
            values.every((value) => Number.isFinite(value) && Math.abs(value) < 2),
            name,
          ).toBe(true);
        }
      } finally {
        await checkpoint.close();
      }
    }
  });
});

it("needs no tokenizer and reads dense folders", async () => {
  const bare = join(folder, "bare");
  mkdirSync(bare);
  writeTinyModel(bare);
  const { rows } = await runJson<BenchJson>(["bench", bare, ...short, "--threads", "1", "--no-auto"]);
  expect(rows).toHaveLength(1);
  expect(TINY_CONFIG.max_position_embeddings).toBeGreaterThan(8);
});

it("is shown in the documents as it was measured", () => {
  const run = spawnSync(process.execPath, [join(REPOSITORY, "bench/tables.mjs"), "--check"], {
    encoding: "utf8",
  });
  expect(run.status, run.stderr).toBe(0);
});
