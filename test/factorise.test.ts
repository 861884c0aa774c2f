/** One matrix from a file: the figures that `factorise` states are the figures of what it found. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { hasShared, shared, slowTests } from "./support/shared.js";
import { temporaryFolder } from "./support/temporary.js";
import { randomNumbers, safetensorsBytes } from "./support/tiny-model.js";

const folder = temporaryFolder();
const ROWS = 70;
const COLS = 50;

function randomMatrix(rows: number, cols: number, seed: number): Float32Array {
  const random = randomNumbers(seed);
  return Float32Array.from({ length: rows * cols }, () => random() + random() - 1);
}

function write(name: string, tensors: Parameters<typeof safetensorsBytes>[0]): string {
  const path = join(folder, name);
  writeFileSync(path, safetensorsBytes(tensors));
  return path;
}

const matrix = { name: "weight", shape: [ROWS, COLS], values: randomMatrix(ROWS, COLS, 3) };
const file = write("matrix.safetensors", [matrix]);

interface Factorised {
  rows: number;
  cols: number;
  method: string;
  init: string;
  schedule: string;
  bpw: number;
  paperBpw: number;
  rank: number | null;
  ranks?: number[];
  paths: number | null;
  envelope: number | null;
  scaleBits: number;
  relError: number;
  weightedRelError: number;
  seconds: number;
  cpuSeconds: number;
  peakRssBytes: number;
}

describe("factorise", () => {
  it.each(["dbf", "nanoquant", "littlebit", "auto"])(
    "%s keeps to the bits and repeats itself",
    async (method) => {
      const args = ["factorise", file, "--method", method, "--bpw", "3", "--threads", "1"];
      const { seconds, cpuSeconds, peakRssBytes, ...result } = await runJson<Factorised>(args);
      expect(seconds).toBeGreaterThan(0);
      expect(peakRssBytes).toBeGreaterThan(1e7);
      expect(cpuSeconds).toBeGreaterThan(0);
      expect(result).toMatchObject({
        rows: ROWS,
        cols: COLS,
        envelope: 1,
        init: method === "littlebit" ? "dual-svid" : "admm",
      });
      expect(result.bpw).toBeLessThanOrEqual(3);
      expect(result.relError).toBeGreaterThan(0);
      expect(result.relError).toBeLessThan(1);
      const {
        seconds: again,
        cpuSeconds: cpuAgain,
        peakRssBytes: peakAgain,
        ...repeated
      } = await runJson<Factorised>(args);
      expect(Math.min(again, cpuAgain, peakAgain)).toBeGreaterThan(0);
      expect(repeated).toEqual(result);
    },
  );

  it("counts honestly: signs padded to words and 16 bits a scale", async () => {
    const rank = 16;
    const { bpw } = await runJson<Factorised>(["factorise", file, "--method", "dbf", "--rank", String(rank)]);
    const words = Math.ceil(COLS / 32) + Math.ceil(ROWS / 32);
    expect(bpw).toBeCloseTo((32 * words * rank + 16 * (ROWS + COLS + rank)) / (ROWS * COLS), 12);
  });

  it.each([
    ["onebit", "svd"],
    ["onebit", "nmf"],
    ["littlebit", "itq"],
    ["littlebit", "admm"],
    ["mdbf", "closed-form"],
    ["mdbf", "admm"],
  ])("%s starts by %s", async (method, init) => {
    const size = method === "onebit" ? [] : ["--bpw", "6"];
    const args = ["factorise", file, "--method", method, "--init", init, ...size, "--iterations", "30"];
    const result = await runJson<Factorised>(args);
    expect(result).toMatchObject({ method, init, schedule: "tuned", scaleBits: 16 });
    expect(result.relError).toBeLessThan(1);
    if (method === "onebit") expect(result).toMatchObject({ rank: null, paths: null, envelope: null });
    else expect(result.bpw).toBeLessThanOrEqual(6);
  });

  it("counts onebit, uneven ranks, envelopes and 8-bit scales", async () => {
    const bitsOf = async (...args: string[]) => {
      const result = await runJson<Factorised>(["factorise", file, ...args, "--iterations", "5"]);
      return { ...result, bits: result.bpw * ROWS * COLS };
    };
    const words = Math.ceil(COLS / 32) + Math.ceil(ROWS / 32);
    const onebit = await bitsOf("--method", "onebit");
    expect(onebit.bits).toBeCloseTo(32 * ROWS * Math.ceil(COLS / 32) + 16 * (ROWS + COLS), 6);
    expect(onebit.paperBpw).toBeCloseTo(1 + (16 * (ROWS + COLS)) / (ROWS * COLS), 12);
    const uneven = await bitsOf("--method", "littlebit", "--ranks", "12,5");
    expect(uneven).toMatchObject({ rank: 12, ranks: [12, 5], paths: 2 });
    expect(uneven.bits).toBeCloseTo(17 * 32 * words + 16 * (2 * (ROWS + COLS) + 17), 6);
    const eight = await bitsOf(
      ...["--method", "mdbf", "--envelope", "4", "--rank", "6", "--scale-bits", "8"],
    );
    expect(eight).toMatchObject({ envelope: 4, scaleBits: 8 });
    expect(eight.bits).toBeCloseTo(6 * 32 * words + 8 * 4 * (ROWS + COLS + 12) + 16 * 4 * 4, 6);
  });

  it("takes a Gram matrix of the inputs, and says what is wrong with one", async () => {
    const random = randomNumbers(11);
    const factors = Float32Array.from({ length: COLS * 2 * COLS }, () => random() - 0.5);
    const gram = new Float32Array(COLS * COLS);
    for (let i = 0; i < COLS; i++)
      for (let j = 0; j < COLS; j++)
        for (let k = 0; k < 2 * COLS; k++)
          gram[i * COLS + j] += factors[k * COLS + i] * factors[k * COLS + j];
    const tensor = { name: "gram", shape: [COLS, COLS], values: gram };
    const args = ["factorise", file, "--method", "mdbf", "--rank", "20"];
    const importance = write("gram.safetensors", [tensor]);
    const weighted = await runJson<Factorised>([...args, "--importance", importance]);
    expect(weighted.weightedRelError).toBeLessThan(1);
    const lopsided = write("lopsided.safetensors", [
      { ...tensor, values: gram.map((value, i) => (i === 1 ? value + 50 : value)) },
    ]);
    const refused = await runCli([...args, "--importance", lopsided]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toMatch(/not symmetric/);
  });

  it.each([
    [["--method", "onebit", "--rank", "3"], 2, /onebit/],
    [["--method", "onebit", "--bpw", "0.5"], 3, /onebit takes/],
    [["--method", "onebit", "--init", "admm"], 2, /svd/],
    [["--method", "dbf", "--envelope", "2"], 2, /mdbf/],
    [["--method", "mdbf", "--envelope", "3"], 2, /1, 2, 4, 8, 16/],
    [["--scale-bits", "4"], 2, /16, 8/],
    [["--ranks", "3,4", "--paths", "3"], 2, /2 ranks/],
    [["--ranks", "3,4", "--rank", "3"], 2, /ranks/],
    [["--ranks", "3,x"], 2, /whole number/],
    [["--schedule", "fast"], 2, /tuned/],
    [["--method", "magic"], 2, /magic/],
  ])("refuses %j in one sentence", async (args, exitCode, words) => {
    const run = await runCli(["factorise", file, ...args]);
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toMatch(words);
    expect(run.stderr.trimEnd()).toMatch(/^error: [^\n]*[.?)]$/);
  });

  it("lets importance move the error to where it matters less", async () => {
    const input = Float32Array.from({ length: COLS }, (_, i) => (i < COLS / 2 ? 100 : 0.01));
    const importance = write("importance.safetensors", [{ name: "input", shape: [COLS], values: input }]);
    const args = ["factorise", file, "--method", "dbf", "--rank", "24"];
    const plain = await runJson<Factorised>(args);
    const weighted = await runJson<Factorised>([...args, "--importance", importance]);
    expect(weighted.weightedRelError).toBeLessThan(plain.relError);
    expect(weighted.relError).toBeGreaterThan(plain.relError);
  });

  it("says what it cannot read", async () => {
    const two = write("two.safetensors", [matrix, { ...matrix, name: "other" }]);
    const unclear = await runCli(["factorise", two]);
    expect(unclear.exitCode).toBe(3);
    expect(unclear.stderr).toMatch(/weight.*other/);
    expect((await runCli(["factorise", two, "--tensor", "none"])).exitCode).toBe(3);
    const short = write("short.safetensors", [{ name: "input", shape: [3], values: new Float32Array(3) }]);
    const misfit = await runCli(["factorise", file, "--importance", short]);
    expect(misfit.exitCode).toBe(3);
    expect(misfit.stderr).toMatch(/3 values/);
    const bad = write("nan.safetensors", [
      { ...matrix, values: matrix.values.map((x, i) => (i === 9 ? NaN : x)) },
    ]);
    expect((await runCli(["factorise", bad])).exitCode).toBe(3);
    expect((await runCli(["factorise", file, "--bpw", "0.01"])).exitCode).toBe(3);
    expect((await runCli(["factorise", file, "--bpw", "1", "--rank", "3"])).exitCode).toBe(2);
    expect((await runCli(["factorise", file, "--method", "dbf", "--init", "dual-svid"])).exitCode).toBe(2);
  });
});

describe.skipIf(!hasShared || !slowTests)("factorise on real matrices", () => {
  /** Official figures at 1.0 bpw with every bit counted (init_error.csv). */
  const OFFICIAL = {
    "smollm2-135m.blk5.attn_q": 0.517,
    "smollm2-135m.blk5.ffn_up": 0.58,
    "smollm2-135m.blk5.ffn_down": 0.563,
  };
  it.each(Object.entries(OFFICIAL))(
    "%s is no worse than the best official initialisation",
    async (name, official) => {
      const path = shared("fixtures/matrices", `${name}.safetensors`);
      const { relError } = await runJson<Factorised>(["factorise", path, "--bpw", "1"]);
      expect(relError).toBeLessThanOrEqual(official);
    },
    300_000,
  );
});
