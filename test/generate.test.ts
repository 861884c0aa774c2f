/** Text out of a model: flags, streaming, repeatability, conversations from a pipe. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCli, runJson } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const base = writeTinyModel(join(folder, "base"));
const chatty = writeTinyModel(join(folder, "chatty"), { chat: true });

interface Generated {
  text: string;
  ids: number[];
  promptTokens: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  stopReason: string;
}

describe("generate", () => {
  const prompt = ["generate", base, "--prompt", "a cat", "--max-tokens", "20"];

  it("has the contract's fields", async () => {
    const result = await runJson<Generated>([...prompt, "--temperature", "0", "--ignore-eos"]);
    expect(result.ids).toHaveLength(20);
    expect(result.promptTokens).toBe(5);
    expect(result.stopReason).toBe("length");
    expect(result.prefillTokensPerSecond).toBeGreaterThan(0);
    expect(result.decodeTokensPerSecond).toBeGreaterThan(0);
    expect(typeof result.text).toBe("string");
  });

  it("repeats itself by seed, and by thread count when greedy", async () => {
    const [first, again, other] = await Promise.all(
      ["7", "7", "8"].map((seed) => runJson<Generated>([...prompt, "--temperature", "1", "--seed", seed])),
    );
    expect(again.ids).toEqual(first.ids);
    expect(other.ids).not.toEqual(first.ids);
    const [one, two] = await Promise.all(
      ["1", "2"].map((threads) =>
        runJson<Generated>([...prompt, "--temperature", "0", "--threads", threads]),
      ),
    );
    expect(two.ids).toEqual(one.ids);
  });

  it("continues ids as it continues their text, and stops at a stop text", async () => {
    const ids = join(folder, "ids.json");
    writeFileSync(ids, JSON.stringify([..."a cat"].map((letter) => letter.charCodeAt(0))));
    const flags = ["--max-tokens", "20", "--temperature", "0", "--ignore-eos"];
    const byIds = await runJson<Generated>(["generate", base, "--ids", ids, ...flags]);
    const byText = await runJson<Generated>(["generate", base, "--prompt", "a cat", ...flags]);
    expect(byIds.ids).toEqual(byText.ids);
    const stop = byText.text.slice(3, 5);
    const stopped = await runJson<Generated>(["generate", base, "--ids", ids, ...flags, "--stop", stop]);
    expect(stopped.stopReason).toBe("stop");
    expect(stopped.text).toBe(byText.text.slice(0, byText.text.indexOf(stop)));
  });

  it("streams the same text to people as it gives to programs", async () => {
    const flags = ["--temperature", "0", "--ignore-eos"];
    const { text } = await runJson<Generated>([...prompt, ...flags]);
    const run = await runCli([...prompt, ...flags]);
    expect(run.stdout).toBe(`a cat${text}\n`);
    expect(run.stderr).toContain("5 prompt tokens");
  });

  it("answers by the chat template, where there is one", async () => {
    const message = ["--prompt", "hi", "--max-tokens", "5", "--chat"];
    const { promptTokens } = await runJson<Generated>(["generate", chatty, ...message]);
    expect(promptTokens).toBe("[user] hi\n[assistant] ".length);
    const refused = await runCli(["generate", base, ...message]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("chat template");
  });

  it("wants one prompt", async () => {
    expect((await runCli(["generate", base])).exitCode).toBe(2);
    expect((await runCli(["generate", base, "--prompt", ""])).exitCode).toBe(2);
    expect((await runCli([...prompt, "--temperature", "-1"])).exitCode).toBe(2);
    expect((await runCli([...prompt, "--top-p", "1.5"])).exitCode).toBe(2);
  });

  it("answers without a source, from the shipped model", async () => {
    const { text, promptTokens } = await runJson<Generated>(["generate", "--max-tokens", "8"]);
    expect(promptTokens).toBe(5);
    expect(text).toMatch(/[a-z]{2}/);
  });
});

describe("chat", () => {
  it("takes lines from a pipe and remembers", async () => {
    const input = "hello\n/reset\n/nonsense\nhello\nmore\n/exit\nnever\n";
    const run = await runCli(["chat", chatty, "--max-tokens", "4", "--temperature", "0", "--json"], {
      input,
    });
    expect(run.exitCode, run.stderr).toBe(0);
    const { turns } = JSON.parse(run.stdout) as { turns: { user: string; model: string }[] };
    expect(turns.map((turn) => turn.user)).toEqual(["hello", "hello", "more"]);
    expect(turns[1].model).toBe(turns[0].model);
    expect(run.stderr).toContain("/nonsense");
  });

  it("continues texts where there is no template, and ends with the input", async () => {
    const run = await runCli(["chat", base, "--max-tokens", "4"], { input: "once\n" });
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toContain("no chat template");
  });
});
