/** Commands with sources that lie elsewhere: `hf:` and addresses, against a server on this machine. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { commitOf, startModelServer, type Fault } from "./support/model-server.mjs";
import { runCli, runJson } from "./support/run-cli.js";
import { temporaryFolder } from "./support/temporary.js";
import { tinyText, writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const REPO = "org/tiny";
const TOKEN = "hf_test";
/** Two compressions take some seconds of processor time, which a busy machine stretches. */
const COMPRESS_MS = 240_000;
const model = writeTinyModel(join(folder, "tiny"));
const files = Object.fromEntries(readdirSync(model).map((name) => [name, readFileSync(join(model, name))]));
const text = join(folder, "text.txt");
writeFileSync(text, tinyText(60));

let fault: Fault | undefined;
const server = await startModelServer({
  repos: {
    [REPO]: { ...files, "pytorch_model.bin": Buffer.alloc(5000), ".gitattributes": Buffer.from("x") },
  },
  folders: { "models/tiny": files },
  fault: () => fault,
  token: TOKEN,
});
afterAll(() => server.close());

const environment = (cache: string): Record<string, string> => ({
  HF_ENDPOINT: server.url,
  HF_TOKEN: TOKEN,
  SUBBIT_CACHE: join(folder, cache),
});
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const weightRequests = (): number =>
  server.requests.filter(({ path }) => path.startsWith("/store/") && path.endsWith("model.safetensors"))
    .length;

interface PulledJson {
  path: string;
  revision: string;
  downloadedBytes: number;
  files: { name: string; bytes: number; sha256: string }[];
}

describe("pull", () => {
  it("brings what a model needs, with the hashes, and nothing the second time", async () => {
    const env = environment("pull");
    const first = await runJson<PulledJson>(["pull", `hf:${REPO}`], { env });
    expect(first.files.map(({ name }) => name).sort()).toEqual(Object.keys(files).sort());
    for (const { name, bytes, sha256: hash } of first.files) {
      const content = readFileSync(join(first.path, name));
      expect([bytes, hash]).toEqual([content.length, sha256(content)]);
      expect(content.equals(files[name])).toBe(true);
    }
    expect(first.revision).toBe(commitOf(REPO));
    const second = await runJson<PulledJson>(["pull", `hf:${REPO}@${first.revision}`], { env });
    expect(second).toEqual({ ...first, downloadedBytes: 0 });
    const offline = await runJson<PulledJson>(["pull", `hf:${REPO}`], {
      env: { ...env, HF_HUB_OFFLINE: "1" },
    });
    expect(offline.files.length).toBe(first.files.length);

    const listed = await runJson<{ models: { name: string }[] }>(["cache", "list"], { env });
    expect(listed.models.map(({ name }) => name)).toEqual([`hf:${REPO}`]);
    await runJson(["cache", "clear", `hf:${REPO}`], { env });
    expect(existsSync(first.path)).toBe(false);
    const gone = await runCli(["pull", `hf:${REPO}`], { env: { ...env, HF_HUB_OFFLINE: "1" } });
    expect([gone.exitCode, gone.stderr]).toEqual([3, expect.stringContaining("HF_HUB_OFFLINE")]);
  });

  it("fills a folder from an address, whole or not at all", async () => {
    const env = environment("folder");
    const address = `${server.url}/plain/models/tiny`;
    const out = join(folder, "pulled");
    fault = { kind: "status", status: 404 };
    const failed = await runCli(["pull", address, out], { env });
    fault = undefined;
    expect([failed.exitCode, existsSync(out)]).toEqual([3, false]);
    const pulled = await runJson<PulledJson>(["pull", address, out], { env });
    expect(pulled.path).toBe(out);
    expect(readdirSync(out).sort()).toEqual(Object.keys(files).sort());
    expect((await runCli(["pull", address, out], { env })).exitCode).toBe(2);
    await runJson(
      ["pull", `hf:${REPO}`, out, "--overwrite", "--include", "*.bin", "config*", "--exclude", "*.txt"],
      { env },
    );
    expect(readdirSync(out).sort()).toEqual(["config.json", "pytorch_model.bin"]);
  });

  it("of two processes at once makes one download", async () => {
    const env = environment("two");
    const before = weightRequests();
    fault = { kind: "slow", milliseconds: 1000 };
    const runs = await Promise.all([1, 2].map(() => runJson<PulledJson>(["pull", `hf:${REPO}`], { env })));
    fault = undefined;
    expect(weightRequests() - before).toBe(1);
    expect(runs[0].path).toBe(runs[1].path);
    expect(runs.filter(({ downloadedBytes }) => downloadedBytes > 0).length).toBe(1);
  });

  it("breaks the lock of a process that is gone", async () => {
    const env = environment("stale");
    const gone = spawn(process.execPath, ["--version"], { stdio: "ignore" });
    await new Promise((resolve) => gone.on("close", resolve));
    const locks = join(folder, "stale", "hub", ".locks");
    mkdirSync(locks, { recursive: true });
    const { hostname } = await import("node:os");
    const holder = { pid: gone.pid, host: hostname(), started: "1", token: "of nobody" };
    writeFileSync(join(locks, "models--org--tiny.subbit.lock"), JSON.stringify(holder));
    const pulled = await runJson<PulledJson>(["pull", `hf:${REPO}`], { env });
    expect(pulled.downloadedBytes).toBeGreaterThan(0);
    expect(readdirSync(locks)).toEqual([]);
  });

  it("goes on after it was killed", async () => {
    const env = environment("killed");
    fault = { kind: "stall", after: 1000 };
    const killed = await runCli(["pull", `hf:${REPO}`], {
      env,
      onStart: (child) => setTimeout(() => child.kill("SIGKILL"), 2500),
    });
    fault = undefined;
    expect(killed.signal).toBe("SIGKILL");
    const pulled = await runJson<PulledJson>(["pull", `hf:${REPO}`], { env });
    expect(readFileSync(join(pulled.path, "model.safetensors")).equals(files["model.safetensors"])).toBe(
      true,
    );
  });
});

describe("sources of other commands", () => {
  it("inspect reads what it needs by range", async () => {
    const local = await runJson(["inspect", model]);
    for (const [cache, source] of [
      ["inspect-hub", `hf:${REPO}`],
      ["inspect-url", `${server.url}/plain/models/tiny`],
    ]) {
      expect(await runJson(["inspect", source], { env: environment(cache) })).toEqual(local);
      expect(existsSync(join(folder, cache)), "nothing is downloaded").toBe(false);
    }
  });

  it("a server without ranges is downloaded from", async () => {
    const source = `${server.url}/plain/models/tiny`;
    const env = environment("whole");
    fault = { kind: "no-length" };
    const unknown = await runCli(["inspect", source], { env });
    fault = { kind: "whole" };
    const report = await runJson(["inspect", source], { env });
    fault = undefined;
    expect([unknown.exitCode, unknown.stderr]).toEqual([3, expect.stringContaining("how large")]);
    expect(report).toEqual(await runJson(["inspect", model]));
    expect(existsSync(join(folder, "whole"))).toBe(true);
  });

  it(
    "compress makes the same model, read by ranges",
    async () => {
      const compress = (source: string, out: string, ...more: string[]): string[] => {
        const recipe = [
          "--calibration",
          text,
          "--bpw",
          "2",
          "--tune",
          "none",
          "--samples",
          "2",
          "--seqlen",
          "16",
        ];
        return [
          "compress",
          source,
          join(folder, out),
          ...recipe,
          "--threads",
          "1",
          "--allocate",
          "uniform",
          ...more,
        ];
      };
      const [, streamed] = await Promise.all([
        runJson(compress(model, "from-folder")),
        runJson(compress(`hf:${REPO}`, "streamed", "--stream"), { env: environment("stream") }),
      ]);
      expect(streamed).toMatchObject({ out: join(folder, "streamed") });
      const read = (out: string, name: string): Buffer => readFileSync(join(folder, out, name));
      expect(read("streamed", "model.safetensors").equals(read("from-folder", "model.safetensors"))).toBe(
        true,
      );
      expect(existsSync(join(folder, "stream")), "nothing is downloaded").toBe(false);
      const teacher = (out: string): unknown => JSON.parse(read(out, "subbit.json").toString()).teacherSha256;
      expect(teacher("streamed")).toBe(sha256(files["model.safetensors"]));
      expect(teacher("from-folder")).toBe(teacher("streamed"));
      const wrong = await runCli(compress(model, "never", "--stream"));
      expect([wrong.exitCode, wrong.stderr]).toEqual([2, expect.stringContaining("--stream")]);
    },
    COMPRESS_MS,
  );

  it("failures are one sentence with the right exit code", async () => {
    const env = environment("failures");
    const gone = await startModelServer({});
    await gone.close();
    const cases: [string[], number, RegExp, Record<string, string>?][] = [
      [["inspect", `hf:${REPO}`], 3, /HF_TOKEN/, { HF_TOKEN: "" }],
      [["push", model, `hf:${REPO}`], 2, /HF_TOKEN/, { HF_TOKEN: "" }],
      [["inspect", `hf:${REPO}`, "--json"], 1, /refused/, { HF_ENDPOINT: gone.url }],
    ];
    for (const [args, exitCode, words, more] of cases) {
      const run = await runCli(args, { env: { ...env, ...more } });
      expect([run.exitCode, run.stderr]).toEqual([exitCode, expect.stringMatching(words)]);
      expect(run.stderr).not.toMatch(/\n\s+at /);
    }
  });
});

describe("push", () => {
  it("uploads the folder with a card that the Hub reads, and what comes back is the same", async () => {
    const target = "me/tiny-copy";
    const env = environment("push");
    const pushed = await runJson<{ commit: string; files: { name: string }[] }>(
      ["push", model, `hf:${target}`, "--license", "apache-2.0", "--base-model", REPO],
      { env },
    );
    expect(pushed.commit).toBe(commitOf(target));
    const stored = server.pushed.get(target)!;
    for (const [name, content] of Object.entries(files))
      expect(stored.get(name)?.equals(content), name).toBe(true);
    const card = stored.get("README.md")!.toString();
    expect(card).toMatch(
      /^---\nlibrary_name: subbit\n[^]*license: "apache-2.0"\nbase_model: "org\/tiny"\n[^]*\n---\n/,
    );
    expect(existsSync(join(model, "README.md")), "the folder stays as it is").toBe(false);
    // Again into the repository that is there by now.
    await runJson(["push", model, `hf:${target}`], { env });
  });
});
