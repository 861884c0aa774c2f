/** The contract's promises about the command line itself: exit codes, one sentence, JSON alone on standard output. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCli } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { tinyText, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const model = writeTinyModel(join(folder, "model"));
const text = join(folder, "text.txt");
writeFileSync(text, tinyText(40));
const ids = join(folder, "ids.json");
writeFileSync(ids, "[1, 2, 3]");
const existing = join(folder, "existing");
mkdirSync(existing);

/** One sentence: it ends with a full stop, stands on one line, and shows no stack. */
function expectSentence(stderr: string): void {
  const lines = stderr.trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(/^error: [A-Z~./\w].*[.?)]$/);
  expect(stderr).not.toMatch(/\n\s+at /);
}

describe("a wrong command line ends with 2", () => {
  const compress = ["compress", model, join(folder, "out"), "--calibration", text];
  const cases: Record<string, string[]> = {
    "no such command": ["frobnicate"],
    "an unknown option": ["inspect", model, "--frobnicate"],
    "a missing argument": ["inspect"],
    "a surplus argument": ["inspect", model, model],
    "a bpw that is no number": [...compress, "--bpw", "abc"],
    "a negative bpw": [...compress, "--bpw", "-1"],
    "a bpw of NaN": [...compress, "--bpw", "NaN"],
    "bpw and bytes at once": [...compress, "--bpw", "1", "--bytes", "1MB"],
    "bytes without a known unit": [...compress, "--bytes", "30XB"],
    "an unknown method": [...compress, "--method", "magic"],
    "zero windows": ["eval", model, "--text", text, "--windows", "0"],
    "a window of one token": ["eval", model, "--text", text, "--seqlen", "1"],
    "windows longer than the context": ["eval", model, "--text", text, "--seqlen", "257"],
    "no text to measure": ["eval", model],
    "zero threads": ["eval", model, "--text", text, "--threads", "0"],
    "an output folder that exists": ["compress", model, existing, "--calibration", text],
    "an output file that exists": ["logits", model, "--ids", ids, "--out", ids],
    "the source as output": ["compress", model, model, "--calibration", text, "--overwrite"],
    "no calibration text": ["compress", model, join(folder, "out")],
    "two things to tokenize": ["tokenize", model, "--text", "a", "--file", text],
    "a local source to pull": ["pull", model],
    "an unknown action on the cache": ["cache", "frobnicate"],
    "a cache to clear without saying what of it": ["cache", "clear"],
  };
  it.concurrent.each(Object.entries(cases))("%s", async (_, args) => {
    const run = await runCli(args);
    expect(run.exitCode, run.stderr).toBe(2);
    expect(run.stdout).toBe("");
    expectSentence(run.stderr);
  });
});

describe("help and version", () => {
  it("end with 0 and stand on standard output", async () => {
    for (const args of [["--help"], ["--version"], ["compress", "--help"], ["help", "eval"]]) {
      const run = await runCli(args);
      expect(run.exitCode).toBe(0);
      expect(run.stdout).not.toBe("");
      expect(run.stderr).toBe("");
    }
  });

  it("show an example for every command and list no command that does not exist", async () => {
    const { stdout } = await runCli(["--help"]);
    const commands = [...stdout.matchAll(/^ {2}(\w+)(?: \[options\])/gm)].map((match) => match[1]);
    expect(commands.sort()).toEqual(
      [
        "bench",
        "cache",
        "chat",
        "compress",
        "convert",
        "demo",
        "eval",
        "factorise",
        "generate",
        "inspect",
        "logits",
        "pull",
        "push",
        "tokenize",
        "train",
      ].sort(),
    );
    for (const command of commands) {
      const help = await runCli([command, "--help"]);
      expect(help.stdout, command).toContain(`$ subbit ${command}`);
      expect(help.stdout, command).toContain("--json");
    }
  });

  it("suggest the command that was meant", async () => {
    expect((await runCli(["inspct", model])).stderr).toContain("inspect");
    expect((await runCli(["inspect", model, "--jsn"])).stderr).toContain("--json");
  });
});

describe("--json", () => {
  it("puts one object on standard output, for errors too", async () => {
    const good = await runCli(["tokenize", model, "--text", "a cat", "--json"]);
    expect(good.exitCode).toBe(0);
    expect(JSON.parse(good.stdout)).toMatchObject({ ids: [97, 32, 99, 97, 116], text: "a cat" });
    const bad = await runCli(["inspect", join(folder, "nothing"), "--json"]);
    expect(bad.exitCode).toBe(3);
    expect(JSON.parse(bad.stdout)).toMatchObject({ error: { code: "input" } });
    const wrong = await runCli(["inspect", model, "--frobnicate", "--json"]);
    expect(wrong.exitCode).toBe(2);
    expect(JSON.parse(wrong.stdout)).toMatchObject({ error: { code: "usage" } });
  });
});

describe("--debug", () => {
  it("shows the stack, and only then", async () => {
    const args = ["inspect", join(folder, "nothing")];
    expect((await runCli(args)).stderr).not.toMatch(/\n\s+at /);
    expect((await runCli([...args, "--debug"])).stderr).toMatch(/\n\s+at /);
  });
});

describe("without a terminal", () => {
  it("no colours and no moving bars are written", async () => {
    const run = await runCli(["eval", model, "--text", text, "--seqlen", "32", "--windows", "2"]);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout + run.stderr).not.toContain("\u001b");
    expect(run.stdout).toContain("perplexity");
  });
});
