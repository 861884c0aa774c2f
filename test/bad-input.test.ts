/** Bad input ends with exit code 3, one sentence that names what is wrong, and nothing on disk. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runCli } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import {
  randomNumbers,
  safetensorsBytes,
  TINY_CONFIG,
  tinyTensors,
  tinyText,
  writeTinyModel,
} from "./support/tiny-model.js";

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const text = at("text.txt");
writeFileSync(text, tinyText(60));

async function expectRefused(args: string[], words: RegExp, exitCode = 3): Promise<void> {
  const before = readdirSync(folder).sort();
  const run = await runCli(args);
  expect(run.exitCode, run.stderr).toBe(exitCode);
  expect(run.stderr).toMatch(words);
  expect(run.stderr.trimEnd().split("\n").at(-1)).toMatch(/^error: .*[.?)]$/);
  expect(run.stderr).not.toMatch(/\n\s+at /);
  expect(run.stdout).toBe("");
  expect(readdirSync(folder).sort(), "nothing is written").toEqual(before);
}

describe("models", () => {
  it("truncated weights", async () => {
    const model = writeTinyModel(at("truncated"));
    const weights = readFileSync(join(model, "model.safetensors"));
    for (const length of [0, 5, 100, weights.length - 1]) {
      writeFileSync(join(model, "model.safetensors"), weights.subarray(0, length));
      await expectRefused(["inspect", model], /model\.safetensors/);
    }
    await expectRefused(["compress", model, at("never"), "--calibration", text], /model\.safetensors/);
  });

  it("a header that claims 2^60 bytes", async () => {
    const model = writeTinyModel(at("huge-header"));
    const weights = readFileSync(join(model, "model.safetensors"));
    weights.writeBigUInt64LE(2n ** 60n);
    writeFileSync(join(model, "model.safetensors"), weights);
    await expectRefused(["inspect", model], /header/i);
  });

  it("random bytes flipped in header and length: refused or read, never a crash", async () => {
    const model = writeTinyModel(at("flipped"));
    const weights = readFileSync(join(model, "model.safetensors"));
    const random = randomNumbers(7);
    for (let trial = 0; trial < 4; trial++) {
      const broken = Buffer.from(weights);
      broken[Math.floor(random() * 1000)] ^= 1 << Math.floor(random() * 8);
      writeFileSync(join(model, "model.safetensors"), broken);
      const run = await runCli(["inspect", model]);
      expect([0, 3], run.stderr).toContain(run.exitCode);
    }
  });

  it("an unsupported architecture", async () => {
    const model = writeTinyModel(at("mamba"), {
      config: { model_type: "mamba", architectures: ["MambaForCausalLM"] },
    });
    await expectRefused(["inspect", model], /mamba/);
  });

  it("a config that disagrees with the tensors", async () => {
    const model = writeTinyModel(at("disagreeing"), { config: { intermediate_size: 161 } });
    await expectRefused(["inspect", model], /161/);
    const deeper = writeTinyModel(at("deeper"), { config: { num_hidden_layers: 3 } });
    await expectRefused(["inspect", deeper], /layers\.2/);
  });

  it("a missing tensor, a missing config, a config that is no JSON", async () => {
    const model = writeTinyModel(at("missing"));
    const rest = tinyTensors(TINY_CONFIG).filter(({ name }) => !name.includes("layers.1.mlp.up_proj"));
    writeFileSync(join(model, "model.safetensors"), safetensorsBytes(rest));
    await expectRefused(["inspect", model], /layers\.1\.mlp\.up_proj/);
    const broken = writeTinyModel(at("broken-config"));
    writeFileSync(join(broken, "config.json"), "{");
    await expectRefused(["inspect", broken], /config\.json/);
    await expectRefused(["inspect", folder], /config\.json|safetensors/);
  });

  it("no such source, a file that is no model", async () => {
    await expectRefused(["inspect", at("nothing-here")], /nothing-here/);
    await expectRefused(["inspect", text], /text\.txt/);
    writeFileSync(at("garbage.gguf"), "not a gguf file at all");
    await expectRefused(["inspect", at("garbage.gguf")], /garbage\.gguf/);
  });
});

describe("texts", () => {
  const model = writeTinyModel(at("model"));
  const compress = (file: string): string[] => [
    "compress",
    model,
    at("never"),
    "--calibration",
    file,
    "--bpw",
    "2",
  ];

  it("empty, blank, too short, absent or not UTF-8", async () => {
    for (const [name, content] of Object.entries({
      "empty.txt": "",
      "blank.txt": " \n\n ",
      "ends.txt": "<|endoftext|>",
    })) {
      writeFileSync(at(name), content);
      await expectRefused(compress(at(name)), new RegExp(name));
      await expectRefused(["eval", model, "--text", at(name)], new RegExp(name));
    }
    writeFileSync(at("short.txt"), "a few words");
    await expectRefused(compress(at("short.txt")), /256/);
    await expectRefused(["eval", model, "--text", at("short.txt"), "--seqlen", "64"], /11 tokens/);
    writeFileSync(at("latin1.txt"), Buffer.from([0x61, 0xe9, 0x62, 0x0a]));
    await expectRefused(compress(at("latin1.txt")), /UTF-8/);
    await expectRefused(compress(at("absent.txt")), /absent\.txt/);
  });

  it("a malformed JSON line is named by its number", async () => {
    writeFileSync(at("bad.jsonl"), '{"text": "one"}\n{"text": "two"\n');
    await expectRefused(compress(at("bad.jsonl")), /Line 2/);
    writeFileSync(at("field.jsonl"), '{"content": "one"}\n');
    await expectRefused(compress(at("field.jsonl")), /"text"/);
  });

  it("a budget that no shape can meet names the smallest one", async () => {
    const args = ["compress", model, at("never"), "--calibration", text, "--bpw", "0.01"];
    const run = await runCli(args);
    expect(run.exitCode, run.stderr).toBe(3);
    expect(run.stderr).toMatch(/smallest|at least/);
    const smallest = Number(/(\d+\.\d+)(?!.*\d+\.\d+)/.exec(run.stderr)?.[1]);
    expect(smallest).toBeGreaterThan(0.01);
    await expectRefused(
      ["compress", model, at("never"), "--calibration", text, "--bytes", "10kB"],
      /bytes|kB|MB/,
    );
    expect(existsSync(at("never"))).toBe(false);
  });
});

describe("ids and messages", () => {
  it("that are not what the command takes", async () => {
    const model = writeTinyModel(at("ids-model"));
    const cases: Record<string, [string, RegExp]> = {
      "words.json": ['["a"]', /whole numbers/],
      "none.json": ["[]", /at least one/],
      "broken.json": ["[1,", /not JSON/],
      "large.json": ["[1, 257]", /257/],
    };
    for (const [name, [content, words]] of Object.entries(cases)) {
      writeFileSync(at(name), content);
      await expectRefused(["logits", model, "--ids", at(name), "--out", at("never.safetensors")], words);
      await expectRefused(["tokenize", model, "--decode", at(name)], words);
    }
    writeFileSync(at("messages.json"), '[{"role": "user"}]');
    await expectRefused(["tokenize", model, "--chat", at("messages.json")], /content/);
    writeFileSync(at("messages.json"), '[{"role": "user", "content": "hi"}]');
    await expectRefused(["tokenize", model, "--chat", at("messages.json")], /chat template/);
  });
});
