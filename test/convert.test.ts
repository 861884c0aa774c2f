/** `subbit convert` as users run it: whole or not at all, without loss or with the reason why not. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { REPOSITORY, runCli, runJson } from "./support/run-cli.js";
import { readTensors } from "./support/safetensors.js";
import { temporaryFolder } from "./support/temporary.js";
import { writeTinyModel } from "./support/tiny-model.js";

const folder = temporaryFolder();
const layouts = join(REPOSITORY, "packages/core/test/data/layouts");
const official = (name: string): string => join(layouts, name);
const out = (name: string): string => join(folder, name);

interface Converted {
  readonly out: string;
  readonly from: string;
  readonly to: string;
  readonly maxAbsDifference: number;
}

function convert(source: string, name: string, to: string, ...more: string[]): Promise<Converted> {
  return runJson<Converted>(["convert", source, out(name), "--to", to, ...more]);
}

it("goes from layout to layout without loss, and says from where to where", async () => {
  const subbit = await convert(official("littlebit-single"), "subbit", "subbit");
  expect(subbit).toMatchObject({ out: out("subbit"), from: "littlebit", to: "subbit", maxAbsDifference: 0 });
  expect(await convert(out("subbit"), "dbf", "dbf")).toMatchObject({
    from: "subbit",
    to: "dbf",
    maxAbsDifference: 0,
  });
  expect(readdirSync(out("dbf")).sort()).toEqual(["checkpoint.pt", "config.json"]);
  expect(await convert(out("dbf"), "mdbf", "mdbf")).toMatchObject({
    from: "dbf",
    to: "mdbf",
    maxAbsDifference: 0,
  });
  expect(await convert(out("mdbf"), "dense", "dense")).toMatchObject({
    from: "mdbf",
    to: "dense",
    maxAbsDifference: 0,
  });
  const report = await runJson<{ format: string; linears: { rank: number; paths: number }[] }>([
    "inspect",
    out("mdbf"),
  ]);
  expect(report.format).toBe("mdbf");
  expect(report.linears[0]).toMatchObject({ rank: 24, paths: 1 });
  // What has gone through four layouts still gives the official logits.
  const golden = readTensors(join(official("littlebit-single"), "expected.safetensors"));
  writeFileSync(out("ids.json"), JSON.stringify([...golden.get("input_ids")!.values]));
  await runJson(["logits", out("dense"), "--ids", out("ids.json"), "--out", out("logits.safetensors")]);
  const got = readTensors(out("logits.safetensors")).get("logits")!.values;
  const want = golden.get("logits")!.values;
  const worst = want.reduce<number>((most, value, i) => Math.max(most, Math.abs(value - got[i])), 0);
  expect(worst).toBeLessThan(5e-4);
});

it("rounds scales only where that is asked for, and says by how much", async () => {
  const rounded = await convert(official("dbf-finetuned"), "rounded", "subbit", "--scale-bits", "8");
  expect(rounded.maxAbsDifference).toBeGreaterThan(0);
  const manifest = JSON.parse(readFileSync(join(out("rounded"), "subbit.json"), "utf8")) as {
    linears: Record<string, { scaleBits: number }>;
  };
  expect(Object.values(manifest.linears).every(({ scaleBits }) => scaleBits === 8)).toBe(true);
});

it("leaves nothing behind where the layout cannot hold the model", async () => {
  const run = await runCli(["convert", official("mdbf-p1-l4"), out("refused"), "--to", "littlebit"]);
  expect(run.exitCode).toBe(3);
  expect(run.stderr.trimEnd()).toMatch(
    /^error: The littlebit layout cannot hold .* envelopes have rank 4.*\.$/,
  );
  expect(readdirSync(folder).filter((name) => name.includes("refused"))).toEqual([]);
});

it("refuses a dense model, a wrong command line and an output that exists", async () => {
  const dense = writeTinyModel(out("tiny"));
  expect((await runCli(["convert", dense, out("none"), "--to", "dbf"])).exitCode).toBe(3);
  const cases = [
    ["convert", dense, out("none")],
    ["convert", dense, out("none"), "--to", "gptq"],
    ["convert", dense, out("none"), "--to", "dense", "--scale-bits", "8"],
    ["convert", dense, out("none"), "--to", "subbit", "--scale-bits", "4"],
    ["convert", dense, dense, "--to", "dense", "--overwrite"],
  ];
  for (const args of cases) expect((await runCli(args)).exitCode, args.join(" ")).toBe(2);
  mkdirSync(out("taken"));
  const taken = await runCli(["convert", dense, out("taken"), "--to", "dense"]);
  expect(taken.exitCode).toBe(2);
  expect(existsSync(out("none"))).toBe(false);
});

it("refuses a torch file that asks to run something, wherever a source is taken", async () => {
  const hostile = out("hostile");
  cpSync(official("dbf-finetuned"), hostile, { recursive: true });
  rmSync(join(hostile, "expected.safetensors"));
  const path = join(hostile, "checkpoint.pt");
  const bytes = readFileSync(path);
  // The same length, so that the zip file around it stays as it is.
  const at = bytes.indexOf("ccollections\nOrderedDict\n");
  bytes.write("cbuiltins__\nexec_of_this\n", at, "latin1");
  writeFileSync(path, bytes);
  for (const command of [["inspect"], ["convert", "--to", "subbit"]]) {
    const [name, ...more] = command;
    const args = name === "convert" ? [name, hostile, out("never"), ...more] : [name, hostile];
    const run = await runCli(args);
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toMatch(/builtins__\.exec_of_this.*never run/);
  }
  expect(existsSync(out("never"))).toBe(false);
});
