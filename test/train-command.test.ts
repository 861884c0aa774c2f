/** `subbit train` on a tiny model, from the command line: train, log, report, kill, resume, refuse. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { slowTests } from "./support/shared.js";
import { temporaryFolder } from "./support/temporary.js";
import { randomNumbers, tinyText, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const teacher = writeTinyModel(at("teacher"));
const packed = at("packed");
const data = at("data.txt");
const evaluation = at("evaluation.txt");
writeFileSync(data, tinyText(60, 5));
writeFileSync(evaluation, tinyText(30, 6));

const STEPS = 24;
const SEQLEN = 64;

function trainArgs(out: string, more: string[] = []): string[] {
  const data64 = ["--data", data, "--seqlen", String(SEQLEN), "--tokens", String(STEPS * SEQLEN)];
  return ["train", packed, out, "--teacher", teacher, ...data64, "--threads", "1", "--seed", "3", ...more];
}

const EVALUATED = ["--eval-text", evaluation, "--eval-windows", "4", "--eval-every", "6"];

/** sha256 over names and contents of a folder's files. */
function folderHash(path: string): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(path).sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(path, name)));
  }
  return hash.digest("hex");
}

interface Line {
  step: number;
  loss?: number;
  perplexity?: number;
  seconds?: number;
}

/** Lines without what differs from run to run. */
function logOf(path: string): Line[] {
  return readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((text) => ({ ...(JSON.parse(text) as Line), seconds: 0 }));
}

interface TrainJson {
  out: string;
  steps: number;
  tokens: number;
  tokensPerSecond: number;
  losses: number[];
  evaluations: { step: number; perplexity: number }[];
  keptStep: number;
  fileBytes: number;
  seconds: number;
  quality: { perplexityTeacher: number; perplexity: number; kl: number; top1Agreement: number };
  verify: { maxAbsDifference: number };
}

/** Runtime against engine on logits of order one: two orders of f32 sums. */
const LOGIT_TOLERANCE = 1e-2;
/** Scales of 16 bits and the runtime's rounding of activations against the engine's f32, in nats. */
const PERPLEXITY_TOLERANCE = 1e-2;

beforeAll(async () => {
  const fit = ["--calibration", data, "--samples", "8", "--seqlen", String(SEQLEN), "--iterations", "20"];
  const args = ["compress", teacher, packed, ...fit, "--bpw", "2.5", "--tune", "none", "--threads", "1"];
  const run = await runCli(args);
  expect(run.exitCode, run.stderr).toBe(0);
}, 600_000);

describe("train", () => {
  const out = at("trained");
  const plain = at("plain");
  const log = at("trained.jsonl");
  const report = at("report.html");
  let result: TrainJson;
  beforeAll(async () => {
    result = await runJson<TrainJson>(trainArgs(out, [...EVALUATED, "--log", log, "--report", report]));
    const run = await runCli(trainArgs(plain, ["--log", `${plain}.jsonl`]));
    expect(run.exitCode, run.stderr).toBe(0);
  }, 600_000);

  it("says what it did, and what the packed file is worth", async () => {
    expect(result).toMatchObject({ out, steps: STEPS, tokens: STEPS * SEQLEN });
    expect(result.tokensPerSecond).toBeGreaterThan(0);
    expect(result.losses).toHaveLength(STEPS);
    expect(result.evaluations.map(({ step }) => step)).toEqual([0, 6, 12, 18, 24]);
    const kept = result.evaluations.find(({ step }) => step === result.keptStep)!;
    expect(kept.perplexity).toBe(Math.min(...result.evaluations.map(({ perplexity }) => perplexity)));
    expect(Math.abs(Math.log(result.quality.perplexity / kept.perplexity))).toBeLessThan(
      PERPLEXITY_TOLERANCE,
    );
    expect(result.verify.maxAbsDifference).toBeLessThan(LOGIT_TOLERANCE);
    expect(existsSync(`${out}.work`)).toBe(false);
  });

  it("comes closer to the teacher on text that it has not seen", async () => {
    const judge = ["--text", evaluation, "--seqlen", String(SEQLEN), "--windows", "4", "--teacher", teacher];
    const [before, after] = await Promise.all(
      [packed, plain].map((path) => runJson<{ kl: number }>(["eval", path, ...judge])),
    );
    expect(after.kl).toBeLessThan(0.95 * before.kl);
  });

  it("leaves a folder of the same size that tells where it comes from", async () => {
    const [own, parents] = await Promise.all(
      [out, packed].map((path) => runJson<{ fileBytes: number; bpw: number }>(["inspect", path])),
    );
    expect(own.fileBytes).toBe(parents.fileBytes);
    expect(own.bpw).toBe(parents.bpw);
    expect(readdirSync(out)).toEqual(readdirSync(packed));
    const manifest = JSON.parse(readFileSync(join(out, "subbit.json"), "utf8")) as {
      recipe: { parent: { name: string; sha256: string } };
      teacherSha256: string;
      quality: object;
    };
    expect(manifest.recipe).toMatchObject({ recipe: "default", steps: STEPS, parent: { name: "packed" } });
    const weights = readFileSync(join(teacher, "model.safetensors"));
    expect(manifest.teacherSha256).toBe(createHash("sha256").update(weights).digest("hex"));
    expect(manifest.quality).toEqual(result.quality);
    expect(readFileSync(join(out, "README.md"), "utf8")).toContain("| trained from | packed");
  });

  it("logs every step and evaluation once, and draws them", () => {
    const lines = logOf(log);
    expect(lines.flatMap(({ loss }) => (loss === undefined ? [] : [loss]))).toEqual(result.losses);
    expect(
      lines.flatMap(({ step, perplexity }) => (perplexity === undefined ? [] : [{ step, perplexity }])),
    ).toEqual(result.evaluations);
    const html = readFileSync(report, "utf8");
    expect(html.match(/<svg/g)).toHaveLength(3);
    for (const title of ["Loss", "Perplexity of the evaluation text", "Rate", "Hyperparameters"]) {
      expect(html).toContain(`<h2>${title}</h2>`);
    }
    expect(html).not.toMatch(/<script|src=|NaN|undefined/);
  });

  it("resumes after kill -9 at any moment with the same bytes and the same log", async () => {
    const random = randomNumbers(Date.now());
    const trials = slowTests ? 10 : 2;
    for (let trial = 0; trial < trials; trial++) {
      const killed = at(`killed-${trial}`);
      const args = trainArgs(killed, ["--checkpoint-minutes", "0.001", "--log", `${killed}.jsonl`]);
      const kills: number[] = [];
      for (let attempt = 0; attempt < 2; attempt++) {
        const delay = 300 + random() * result.seconds * 1000;
        const run = await runCli(args, {
          onStart: (child) => setTimeout(() => child.kill("SIGKILL"), delay),
        });
        // The run may have been faster than the kill.
        if (run.signal === null) break;
        kills.push(delay);
        expect(existsSync(killed)).toBe(false);
      }
      if (!existsSync(killed)) {
        const resumed = await runCli(args);
        expect(resumed.exitCode, resumed.stderr).toBe(0);
      }
      expect(folderHash(killed), `killed after ${kills.join()} ms`).toBe(folderHash(plain));
      expect(logOf(`${killed}.jsonl`), `killed after ${kills.join()} ms`).toEqual(logOf(`${plain}.jsonl`));
    }
  }, 600_000);

  it("stops at the first Ctrl-C with 130, keeps what is done, and goes on from there", async () => {
    const interrupted = at("interrupted");
    const args = trainArgs(interrupted);
    const own = join(`${interrupted}.work`, "train.jsonl");
    let stopped = 0;
    const run = await runCli(args, {
      onStart: (child) => {
        const poll = setInterval(() => {
          if (!existsSync(own) || readFileSync(own, "utf8").split("\n").length < 6) return;
          clearInterval(poll);
          child.kill("SIGINT");
        }, 5);
        child.on("exit", () => clearInterval(poll));
      },
    });
    expect(run.exitCode, run.stderr).toBe(130);
    expect(existsSync(interrupted)).toBe(false);
    stopped = Math.max(...logOf(own).map(({ step }) => step));
    const resumed = await runCli(args);
    expect(resumed.exitCode, resumed.stderr).toBe(0);
    expect(resumed.stderr).toContain(`Going on after step ${stopped} of ${STEPS}.`);
    expect(folderHash(interrupted)).toBe(folderHash(plain));
  }, 120_000);
});

describe("train refuses", () => {
  it.each([
    ["no teacher", ["train", "PACKED", "OUT"], 2, /--teacher/],
    ["a dense student", ["train", "TEACHER", "OUT", "--teacher", "TEACHER"], 3, /compress --tune full/],
    ["a packed teacher", ["train", "PACKED", "OUT", "--teacher", "PACKED"], 3, /teacher, but it is packed/],
    ["a text too short", ["--seqlen", "256", "--data", "SHORT"], 3, /holds only \d+/],
    ["windows beyond the context", ["--seqlen", "300"], 2, /context/],
    ["no loss", ["--logits-loss", "0"], 2, /Both losses/],
    ["no rates", ["--lr-latents", "0", "--lr-scales", "0", "--lr-norms", "0"], 2, /All rates are 0/],
    ["a width without its surrogate", ["--surrogate", "onebit", "--surrogate-width", "3"], 2, /tanh/],
    ["a decay of 1", ["--beta1", "1"], 2, /at most/],
    ["another file as its log", ["--log", "SHORT"], 3, /none of a training log/],
    [
      "its source as output",
      ["train", "PACKED", "PACKED", "--teacher", "TEACHER", "--overwrite"],
      2,
      /replace/,
    ],
  ])("%s", async (_, given, exitCode, message) => {
    const short = at("short.txt");
    writeFileSync(short, "not a log, and short");
    const names: Record<string, string> = {
      PACKED: packed,
      TEACHER: teacher,
      OUT: at("refused"),
      SHORT: short,
    };
    const words = given.map((word) => names[word] ?? word);
    const args =
      words[0] === "train" ? words : ["train", packed, at("refused"), "--teacher", teacher, ...words];
    const run = await runCli(args.includes("--data") ? args : [...args, "--data", data]);
    expect(run.exitCode, run.stderr).toBe(exitCode);
    expect(run.stderr).toMatch(message);
    expect(existsSync(at("refused"))).toBe(false);
    expect(readFileSync(short, "utf8")).toBe("not a log, and short");
  });

  it("a teacher of another shape, by the field that differs", async () => {
    const shallow = writeTinyModel(at("shallow"), { config: { rope_theta: 500 } });
    const config = JSON.parse(readFileSync(join(shallow, "config.json"), "utf8")) as object;
    writeFileSync(
      join(shallow, "config.json"),
      JSON.stringify({ ...config, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 12 }),
    );
    const run = await runCli(["train", packed, at("refused"), "--teacher", shallow, "--data", data]);
    expect(run.exitCode, run.stderr).toBe(3);
    expect(run.stderr).toContain("num_attention_heads = 8");
  });
});

describe("compress --tune full", () => {
  it("trains by a paper's recipe, and refuses its flags at other levels", async () => {
    const out = at("littlebit");
    const fit = ["--calibration", data, "--samples", "4", "--seqlen", "64", "--iterations", "10"];
    const form = ["--method", "littlebit", "--bpw", "2.5", "--allocate", "uniform", "--threads", "1"];
    const flags = ["--recipe", "littlebit", "--hidden-loss", "2", "--train-tokens", "512"];
    const args = ["compress", teacher, out, ...fit, ...form, ...flags];
    const run = await runJson<{ stages: { stage: string }[] }>(args);
    expect(run.stages.map(({ stage }) => stage)).toContain("full");
    const { recipe } = JSON.parse(readFileSync(join(out, "subbit.json"), "utf8")) as {
      recipe: { hyperparameters: { full: object } };
    };
    expect(recipe.hyperparameters.full).toMatchObject({ latents: "raw", loss: { hidden: 2, logits: 1 } });
    const refused = await runCli(["compress", teacher, at("none"), ...fit, "--tune", "none", "--clip", "1"]);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain("--clip is of whole-model training");
  }, 120_000);
});
