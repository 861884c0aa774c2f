/** Formats, plans and reports from the command line, on a tiny model. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { tinyText, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const model = writeTinyModel(at("model"));
const calibration = at("calibration.txt");
writeFileSync(calibration, tinyText(60, 5));

const CALIBRATED = ["--calibration", calibration, "--samples", "4", "--seqlen", "64", "--threads", "2"];
const QUICK = [...CALIBRATED, "--tune", "none", "--iterations", "6"];

interface PlanJson {
  method: string;
  rows: { name: string; kind: string; rank: number; bpw: number; scaleBits: number }[];
  totals: { fileBytes: number; compressedBpw: number };
  allocation: { kind: string; objective: number; objectiveUniform: number };
  warnings: string[];
}

describe("compress of every format", () => {
  it.each([
    ["onebit", ["--method", "onebit", "--scale-bits", "8", "--embed-bits", "2"]],
    ["mdbf", ["--method", "mdbf", "--bpw", "5", "--envelope", "2"]],
    [
      "factored",
      [...["--bpw", "3", "--allocate", "uniform"], ...["--embed-method", "factored", "--embed-bpw", "2"]],
    ],
  ])(
    "%s writes what was planned, and inspect shows it",
    async (name, options) => {
      const out = at(name);
      const plan = await runJson<PlanJson>(["compress", model, out, ...options, "--dry-run"]);
      const made = await runJson<{ fileBytes: number; scaleBits: number; paths: number | null }>([
        ...["compress", model, out, ...options, ...QUICK],
      ]);
      expect(made.fileBytes).toBe(plan.totals.fileBytes);
      const inspected = await runJson<{
        fileBytes: number;
        linears: { method: string; scaleBits: number; rank: number | null }[];
        embedding: { kind: string; valueBits: number | null; rank: number | null; bpw: number };
      }>(["inspect", out]);
      expect(inspected.fileBytes).toBe(plan.totals.fileBytes);
      expect(inspected.linears[0]).toMatchObject({
        method: plan.method,
        scaleBits: plan.rows[0].scaleBits,
        rank: plan.rows[0].kind === "onebit" ? null : plan.rows[0].rank,
      });
      if (name === "onebit") expect(inspected.embedding).toMatchObject({ kind: "dense", valueBits: 2 });
      if (name === "factored") {
        expect(inspected.embedding.kind).toBe("factored");
        expect(inspected.embedding.bpw).toBeLessThanOrEqual(2);
      }
      const text = await runCli(["inspect", out]);
      expect(text.stdout).toContain(plan.method);
      const generated = await runJson<{ ids: number[] }>([
        "generate",
        out,
        "--prompt",
        "the cat",
        "--max-tokens",
        "4",
        "--temperature",
        "0",
      ]);
      expect(generated.ids.length).toBeGreaterThan(0);
    },
    120_000,
  );
});

describe("compress --allocate loss", () => {
  it("plans with a text, writes the plan and a report, and runs from the edited plan", async () => {
    const [planFile, report, out] = [at("plan.json"), at("dry.html"), at("from-plan")];
    const common = ["compress", model, out];
    const plan = await runJson<PlanJson>([
      ...[
        ...common,
        "--bpw",
        "3",
        "--allocate",
        "loss",
        "--allocate-iterations",
        "6",
        "--dry-run",
        ...CALIBRATED,
      ],
      ...["--plan-out", planFile, "--report", report],
    ]);
    expect(existsSync(out)).toBe(false);
    expect(plan.allocation.kind).toBe("loss");
    expect(plan.allocation.objective).toBeLessThanOrEqual(plan.allocation.objectiveUniform);
    expect(plan.totals.compressedBpw).toBeLessThanOrEqual(3);
    expectSelfContained(readFileSync(report, "utf8"), ["Bits per weight", "Predicted against uniform"]);

    const file = JSON.parse(readFileSync(planFile, "utf8")) as { linears: Record<string, unknown> };
    const [first] = Object.keys(file.linears);
    file.linears[first] = { rank: 7 };
    writeFileSync(planFile, JSON.stringify(file));
    const again = await runJson<PlanJson>([...common, "--plan", planFile, "--dry-run"]);
    expect(again.rows.map((row) => row.rank)).toEqual([7, ...plan.rows.slice(1).map((row) => row.rank)]);
    const full = at("run.html");
    const made = await runJson<{ fileBytes: number; allocation: string }>([
      ...[...common, "--plan", planFile, ...QUICK, "--report", full],
      ...["--eval-text", calibration, "--eval-windows", "2"],
    ]);
    expect(made).toMatchObject({ fileBytes: again.totals.fileBytes, allocation: "file" });
    expectSelfContained(readFileSync(full, "utf8"), ["Stages", "Perplexity by stage", "Where the bytes are"]);
  }, 120_000);

  it("says that a plan without a text is the uniform one", async () => {
    const run = await runCli([
      ...["compress", model, at("none"), "--bpw", "3", "--allocate", "loss", "--dry-run", "--json"],
    ]);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toMatch(/uniform plan.*--calibration/);
    const plan = JSON.parse(run.stdout) as PlanJson;
    expect(plan.allocation.kind).toBe("uniform");
    expect(plan.warnings).toHaveLength(1);
  });
});

/** One file: no request leaves it, and every plot is in it. */
function expectSelfContained(html: string, titles: string[]): void {
  for (const title of titles) expect(html).toContain(title);
  expect(html.match(/<svg/g)?.length).toBeGreaterThan(1);
  expect(html).not.toMatch(/<script|<link|<img|<iframe|@import|url\(|\s(src|href)=|NaN|undefined/);
  const addresses = [...html.matchAll(/https?:\/\/[^"\s<]*/g)].map(([address]) => address);
  expect(addresses.filter((address) => !address.startsWith("http://www.w3.org/"))).toEqual([]);
}

describe("options that do not go together", () => {
  const plan = at("some-plan.json");
  writeFileSync(plan, "{}");
  it.each<[string[], number, RegExp]>([
    [["--method", "onebit", "--bpw", "0.8"], 3, /onebit costs 1\.\d+ on this model/],
    [["--method", "onebit", "--allocate", "loss"], 2, /no ranks/],
    [["--method", "nanoquant", "--init", "svd"], 2, /starts by admm/],
    [["--envelope", "3"], 2, /1, 2, 4, 8, 16/],
    [["--embed-bits", "3"], 2, /16, 8, 4, 2/],
    [["--embed-bits", "4", "--embed-method", "factored"], 2, /bits per weight instead/],
    [["--allocate-forms", "1by1"], 2, /paths x envelope/],
    [["--plan", plan], 3, /not a plan/],
    [["--plan", at("absent.json")], 3, /absent\.json/],
    [["--plan-out", model], 2, /exists already/],
    [["--bpw", "1", "--bytes", "30MB"], 2, /bytes/],
  ])("%j are refused in one sentence", async (args, exitCode, words) => {
    const run = await runCli(["compress", model, at("never"), ...args, "--calibration", calibration]);
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toMatch(words);
    expect(run.stderr.trimEnd()).toMatch(/^error: [^\n]*[.?)]$/);
    expect(existsSync(at("never"))).toBe(false);
    expect(existsSync(at("never.work"))).toBe(false);
  });
});
