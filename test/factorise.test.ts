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
  bpw: number;
  rank: number;
  paths: number;
  envelope: number;
  relError: number;
  weightedRelError: number;
  seconds: number;
  cpuSeconds: number;
}

describe("factorise", () => {
  it.each(["dbf", "nanoquant", "littlebit", "auto"])(
    "%s keeps to the bits and repeats itself",
    async (method) => {
      const args = ["factorise", file, "--method", method, "--bpw", "3", "--threads", "1"];
      const { seconds, cpuSeconds, ...result } = await runJson<Factorised>(args);
      expect(seconds).toBeGreaterThan(0);
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
      const { seconds: again, cpuSeconds: cpuAgain, ...repeated } = await runJson<Factorised>(args);
      expect(Math.min(again, cpuAgain)).toBeGreaterThan(0);
      expect(repeated).toEqual(result);
    },
  );

  it("counts honestly: signs padded to words and 16 bits a scale", async () => {
    const rank = 16;
    const { bpw } = await runJson<Factorised>(["factorise", file, "--method", "dbf", "--rank", String(rank)]);
    const words = Math.ceil(COLS / 32) + Math.ceil(ROWS / 32);
    expect(bpw).toBeCloseTo((32 * words * rank + 16 * (ROWS + COLS + rank)) / (ROWS * COLS), 12);
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
