/** The main job on a tiny model, from the command line: pack, account for every byte, measure, run, resume. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { slowTests } from "./support/shared.js";
import { temporaryFolder } from "./support/temporary.js";
import { randomNumbers, tinyText, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const model = writeTinyModel(at("model"));
const calibration = at("calibration.txt");
const evaluation = at("evaluation.txt");
writeFileSync(calibration, tinyText(60, 5));
writeFileSync(evaluation, tinyText(30, 6));

const SMALL = ["--bpw", "2.5", "--samples", "8", "--seqlen", "64", "--threads", "2", "--seed", "3"];

function compressArgs(out: string, more: string[] = []): string[] {
  return ["compress", model, out, "--calibration", calibration, ...SMALL, ...more];
}

/** sha256 over names and contents of a folder's files. */
function folderHash(path: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(path).sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(path, name)));
  }
  return hash.digest("hex");
}

interface CompressJson {
  out: string;
  bpw: number;
  fileBytes: number;
  seconds: number;
  peakRssBytes: number;
  quality: { perplexityTeacher: number; perplexity: number; kl: number; top1Agreement: number };
  verify: { maxAbsDifference: number };
}

/** Runtime against engine on logits of order one: two orders of f32 sums. */
const LOGIT_TOLERANCE = 1e-2;

describe("compress", () => {
  const packed = at("packed");
  let result: CompressJson;
  beforeAll(async () => {
    result = await runJson<CompressJson>(
      compressArgs(packed, ["--eval-text", evaluation, "--eval-windows", "4"]),
    );
  }, 180_000);

  it("keeps to the budget and says what it cost", () => {
    expect(result.bpw).toBeLessThanOrEqual(2.5);
    expect(result.bpw).toBeGreaterThan(2);
    expect(result.fileBytes).toBe(statSync(join(packed, "model.safetensors")).size);
    expect(result.quality.perplexityTeacher).toBeGreaterThan(1);
    expect(result.quality.perplexity).toBeGreaterThan(1);
    expect(result.quality.kl).toBeGreaterThan(0);
    expect(result.quality.top1Agreement).toBeGreaterThan(0);
    expect(result.verify.maxAbsDifference).toBeLessThan(LOGIT_TOLERANCE);
    expect(result.peakRssBytes).toBeGreaterThan(1e7);
    expect(existsSync(`${packed}.work`)).toBe(false);
  });

  it("leaves a folder that every command reads", async () => {
    const inspected = await runJson<{
      linears: { name: string; rows: number; cols: number; method: string; bpw: number; bits: number }[];
      bpw: number;
      fileBytes: number;
      bytes: Record<string, number>;
    }>(["inspect", packed]);
    expect(inspected.linears).toHaveLength(14);
    expect(inspected.bpw).toBeCloseTo(result.bpw, 9);
    const sum = Object.values(inspected.bytes).reduce((total, bytes) => total + bytes, 0);
    expect(sum).toBe(inspected.fileBytes);
    expect(inspected.fileBytes).toBe(result.fileBytes);

    const measured = await runJson<{ perplexity: { ppl: number }; kl: number; top1Agreement: number }>([
      ...["eval", packed, "--text", evaluation, "--seqlen", "64", "--windows", "4", "--teacher", model],
    ]);
    expect(measured.perplexity.ppl).toBeCloseTo(result.quality.perplexity, 6);
    expect(measured.kl).toBeCloseTo(result.quality.kl, 6);

    const generated = await runJson<{
      ids: number[];
      text: string;
      promptTokens: number;
      stopReason: string;
    }>([...["generate", packed, "--prompt", "the cat", "--max-tokens", "12", "--temperature", "0"]]);
    expect(generated.ids.length).toBeLessThanOrEqual(12);
    expect(generated.promptTokens).toBeGreaterThanOrEqual(7);
  });

  it("is refused where the output exists, and replaces it only when told to", async () => {
    const before = folderHash(packed);
    const refused = await runCli(compressArgs(packed));
    expect(refused.exitCode).toBe(2);
    expect(folderHash(packed)).toBe(before);
  });

  it("is no teacher itself", async () => {
    const run = await runCli(["compress", packed, at("twice"), "--calibration", calibration]);
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toContain("packed already");
  });

  it("gives the same bytes twice", async () => {
    const args = ["--eval-text", evaluation, "--eval-windows", "4"];
    const again = at("again");
    expect((await runCli(compressArgs(again, args))).exitCode).toBe(0);
    expect(folderHash(again)).toBe(folderHash(packed));
  }, 120_000);

  it("resumes after kill -9 with the same bytes", async () => {
    const args = ["--eval-text", evaluation, "--eval-windows", "4"];
    const random = randomNumbers(Date.now());
    const trials = slowTests ? 10 : 2;
    for (let trial = 0; trial < trials; trial++) {
      const out = at(`killed-${trial}`);
      const delay = 300 + random() * result.seconds * 1000;
      const run = await runCli(compressArgs(out, args), {
        onStart: (child) => setTimeout(() => child.kill("SIGKILL"), delay),
      });
      // The run may have been faster than the kill.
      if (run.signal !== null) {
        expect(existsSync(out), `killed after ${delay} ms`).toBe(false);
        const resumed = await runCli(compressArgs(out, args));
        expect(resumed.exitCode, resumed.stderr).toBe(0);
      }
      expect(folderHash(out), `killed after ${delay} ms`).toBe(folderHash(packed));
    }
  }, 600_000);

  it("stops at the first Ctrl-C with 130, keeps what is done, and resumes", async () => {
    const out = at("interrupted");
    const run = await runCli(compressArgs(out), {
      onStart: (child) => setTimeout(() => child.kill("SIGINT"), 300 + result.seconds * 300),
    });
    expect(run.exitCode, run.stderr).toBe(130);
    expect(existsSync(out)).toBe(false);
    expect(existsSync(`${out}.work`)).toBe(true);
    expect((await runCli(compressArgs(out))).exitCode).toBe(0);
  }, 120_000);
});

describe("compress --dry-run", () => {
  it("shows the plan and writes nothing", async () => {
    const out = at("planned");
    const plan = await runJson<{ totals: { bpw: number; fileBytes: number } }>(
      compressArgs(out, ["--dry-run"]),
    );
    expect(plan.totals.bpw).toBeLessThanOrEqual(2.5);
    expect(existsSync(out)).toBe(false);
    const table = await runCli(compressArgs(out, ["--dry-run"]));
    expect(table.stdout).toContain("down");
  });

  it("plans the very bytes that compress writes", async () => {
    const plan = await runJson<{ totals: { fileBytes: number } }>(compressArgs(at("planned"), ["--dry-run"]));
    const written = await runJson<CompressJson>(compressArgs(at("untuned"), ["--tune", "none"]));
    expect(written.fileBytes).toBe(plan.totals.fileBytes);
  }, 120_000);
});
