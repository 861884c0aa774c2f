/** `subbit eval --tasks`: fields, the journal, bad rows; figures of a real model beside the harness's in the slow tests. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { writeTinyModel } from "./support/tiny-model.js";

interface TaskJson {
  readonly acc: number;
  readonly accStderr: number | null;
  readonly accNorm: number | null;
  readonly n: number;
  readonly rows: readonly {
    readonly row: number;
    readonly logLikelihoods: readonly number[];
    readonly acc: number;
    readonly accNorm: number | null;
  }[];
  readonly teacher?: { readonly acc: number };
  readonly choiceAgreement?: number;
}

interface EvalJson {
  readonly tasks: Record<string, TaskJson>;
  readonly perplexity?: { readonly ppl: number };
  readonly accMean: number;
  readonly bpw: number;
  readonly fileBytes: number;
  readonly seconds: number;
}

const folder = temporaryFolder();
const model = writeTinyModel(join(folder, "model"));
const other = writeTinyModel(join(folder, "other"), { seed: 2 });
const data = join(folder, "data");
mkdirSync(data);
const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const piqaRows = ["boil water", "cut bread", "dry a shirt", "open a jar"].map((goal, i) => ({
  goal,
  sol1: "heat a pan of it",
  sol2: "hold it by the door ",
  label: i % 2,
}));
writeFileSync(join(data, "piqa.jsonl"), lines(piqaRows));
const sentence = "The cup would not go into the box because _ was too big.";
writeFileSync(
  join(data, "winogrande.jsonl"),
  lines(["1", "2"].map((answer) => ({ sentence, option1: "the cup", option2: "the box", answer }))),
);
const own = join(folder, "colours.jsonl");
writeFileSync(own, lines([{ context: "Grass is", choices: ["green", "blue", "red"], gold: 0 }]));

/** The runtime's f32 sums against those of the plain reference, over some 20 tokens. */
const LOG_LIKELIHOOD_TOLERANCE = 1e-2;

const numbersOf = (task: TaskJson): number[] => task.rows.flatMap(({ logLikelihoods }) => logLikelihoods);

describe("eval --tasks", () => {
  it("gives the contract's fields, the same as the reference implementation", async () => {
    const args = ["eval", model, "--tasks", `piqa,winogrande,${own}`, "--data", data, "--threads", "1"];
    const report = await runJson<EvalJson>(args);
    expect(Object.keys(report.tasks)).toEqual(["piqa", "winogrande", "colours"]);
    const { piqa, winogrande, colours } = report.tasks;
    expect(piqa.n).toBe(4);
    expect(piqa.rows.map(({ row }) => row)).toEqual([0, 1, 2, 3]);
    expect(piqa.acc).toBe(piqa.rows.reduce((sum, { acc }) => sum + acc, 0) / 4);
    expect(winogrande).toMatchObject({ n: 2, accNorm: null });
    // Two rows that differ in the answer only.
    expect(winogrande.acc).toBe(0.5);
    expect(colours).toMatchObject({ n: 1, accStderr: null });
    expect(colours.rows[0].logLikelihoods).toHaveLength(3);
    expect(report.accMean).toBeCloseTo((piqa.acc + winogrande.acc + colours.acc) / 3, 12);
    expect(report.bpw).toBe(32);

    const reference = await runJson<EvalJson>([...args, "--device", "reference"]);
    for (const [name, task] of Object.entries(reference.tasks)) {
      const got = numbersOf(report.tasks[name]);
      numbersOf(task).forEach((want, i) => {
        expect(Math.abs(got[i] - want), `${name} ${i}`).toBeLessThan(LOG_LIKELIHOOD_TOLERANCE);
      });
    }
  });

  it("takes rows from the asked range and compares them with a teacher's", async () => {
    const args = ["eval", model, "--tasks", "piqa", "--data", data, "--threads", "1"];
    const all = await runJson<EvalJson>([...args, "--teacher", model]);
    expect(all.tasks["piqa"]).toMatchObject({ choiceAgreement: 1, teacher: { acc: all.tasks["piqa"].acc } });
    const part = await runJson<EvalJson>([...args, "--offset", "1", "--limit", "2"]);
    // Whatever stood in the cache before, a row has the same bits.
    expect(part.tasks["piqa"].rows).toEqual(all.tasks["piqa"].rows.slice(1, 3));
  });

  it("prints a table beside the figures of a text", async () => {
    const text = join(folder, "text.txt");
    writeFileSync(text, "a cat sat on a mat. ".repeat(40));
    const args = ["eval", model, "--text", text, "--seqlen", "32", "--windows", "2", "--teacher", other];
    const run = await runCli([...args, "--tasks", "piqa,winogrande", "--data", data]);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toMatch(/^task +rows +acc +\+- +acc_norm/m);
    expect(run.stdout).toMatch(/^piqa +4 +\d/m);
    expect(run.stdout).toMatch(/^winogrande +2 +50\.0 +50\.0 +- +- +50\.0 +- +\d/m);
    expect(run.stdout).toMatch(/^mean +\d/m);
    expect(run.stdout).toMatch(/^perplexity +\d/m);
  });
});

describe("--work", () => {
  const work = join(folder, "work");
  const args = ["eval", model, "--tasks", "piqa", "--data", data, "--threads", "1", "--work", work];
  const journal = (): string => join(work, readdirSync(work)[0]);

  it("keeps scores by model and row, and survives a torn line", async () => {
    const first = await runJson<EvalJson>([...args, "--limit", "3"]);
    const whole = readFileSync(journal(), "utf8");
    expect(whole.trimEnd().split("\n")).toHaveLength(1 + 3);
    // A run that was killed while it wrote its third row.
    writeFileSync(journal(), whole.slice(0, -20));
    const second = await runJson<EvalJson>(args);
    expect(second.tasks["piqa"].rows.slice(0, 3)).toEqual(first.tasks["piqa"].rows);
    const scored = readFileSync(journal(), "utf8").trimEnd().split("\n");
    // The torn line stays, its row and the new one are added.
    expect(scored).toHaveLength(1 + 3 + 2);

    const third = await runJson<EvalJson>(args);
    expect(third.tasks).toEqual(second.tasks);
    expect(readFileSync(journal(), "utf8").trimEnd().split("\n")).toEqual(scored);

    await runJson([...args.map((arg) => (arg === model ? other : arg)), "--limit", "1"]);
    expect(readdirSync(work)).toHaveLength(2);
  });

  it("takes scores from the journal, not from the model", async () => {
    const folderOf = join(folder, "told");
    const told = [...args.slice(0, -1), folderOf, "--limit", "1"];
    await runJson(told);
    const path = join(folderOf, readdirSync(folderOf)[0]);
    const { key } = JSON.parse(readFileSync(path, "utf8").split("\n")[1]) as { key: string };
    appendFileSync(path, `${JSON.stringify({ key, logLikelihoods: [-1, -2] })}\n`);
    const { tasks } = await runJson<EvalJson>(told);
    expect(tasks["piqa"].rows[0].logLikelihoods).toEqual([-1, -2]);
  });

  it("keeps what was scored before Ctrl-C", async () => {
    const folderOf = join(folder, "stopped");
    const long = join(folder, "long.jsonl");
    const rows = Array.from({ length: 300 }, (_, i) => ({
      context: `${i} `.repeat(50),
      choices: ["a", "b"],
      gold: 0,
    }));
    writeFileSync(long, lines(rows));
    const scored = (): number => {
      const [name] = existsSync(folderOf) ? readdirSync(folderOf) : [];
      return name === undefined ? 0 : readFileSync(join(folderOf, name), "utf8").split("\n").length - 2;
    };
    const stopped = ["eval", model, "--tasks", long, "--work", folderOf, "--device", "reference"];
    const run = await runCli(stopped, {
      onStart: (child) => {
        const timer = setInterval(() => {
          if (scored() < 2) return;
          clearInterval(timer);
          child.kill("SIGINT");
        }, 20);
        child.on("close", () => clearInterval(timer));
      },
    });
    expect(run.exitCode, run.stderr).toBe(130);
    const kept = scored();
    expect(kept).toBeGreaterThanOrEqual(2);
    expect(kept).toBeLessThan(rows.length);
    const { tasks } = await runJson<EvalJson>([...stopped, "--limit", String(kept)]);
    expect(tasks["long"].n).toBe(kept);
    // Nothing was scored again.
    expect(scored()).toBe(kept);
  }, 120_000);

  it("refuses a file that is no journal", async () => {
    const folderOf = join(folder, "foreign");
    const foreign = [...args.slice(0, -1), folderOf, "--limit", "1"];
    await runJson(foreign);
    const path = join(folderOf, readdirSync(folderOf)[0]);
    writeFileSync(path, "something else\n");
    const run = await runCli(foreign);
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toContain("no journal of scores");
    expect(readFileSync(path, "utf8")).toBe("something else\n");
  });
});

describe("what does not fit is said before the model is loaded", () => {
  const at = (name: string): string => join(folder, name);

  it.each<[string, string[], number, RegExp]>([
    ["an unknown task", ["--tasks", "piqa,mmlu", "--data", data], 2, /no task "mmlu".*boolq/],
    ["a task without data", ["--tasks", "piqa"], 2, /--data/],
    ["a task twice", ["--tasks", "piqa,piqa", "--data", data], 2, /twice/],
    ["rows without a task", ["--text", own, "--limit", "2"], 2, /--limit was given without --tasks/],
    ["windows without a text", ["--tasks", own, "--windows", "2"], 2, /--windows was given without --text/],
    ["rows beyond the file", ["--tasks", "piqa", "--data", data, "--offset", "4"], 2, /has only 4/],
    ["no rows asked for", ["--tasks", "piqa", "--data", data, "--limit", "0"], 2, /at least 1/],
    ["a file for a work folder", ["--tasks", own, "--work", own], 2, /is no folder/],
    ["absent data", ["--tasks", "boolq", "--data", data], 3, /boolq\.jsonl/],
    ["an absent file", ["--tasks", at("absent.jsonl")], 3, /absent\.jsonl/],
  ])("%s", async (_, args, exitCode, reason) => {
    const run = await runCli(["eval", model, ...args]);
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toMatch(reason);
    expect(run.stdout).toBe("");
  });

  it("a bad row by its line, and nothing is written", async () => {
    const path = at("bad.jsonl");
    writeFileSync(
      path,
      `${lines([{ context: "a", choices: ["b", "c"], gold: 0 }])}{"context": "a", "gold": 0}\n`,
    );
    const work = at("never");
    const run = await runCli(["eval", model, "--tasks", path, "--work", work, "--json"]);
    expect(run.exitCode).toBe(3);
    expect(JSON.parse(run.stdout)).toMatchObject({ error: { code: "input" } });
    expect(run.stderr).toMatch(/Line 2 of bad\.jsonl .*choices/);
    expect(existsSync(work)).toBe(false);
  });
});
