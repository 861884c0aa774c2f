// `npm run bench`: everything that docs/performance.md shows, measured on this machine.
//
//   npm run bench -- [--quick] [--again] [--only PART,...] [--rounds N] [--models DIR] [--packed DIR --gguf FILE ...]
//
// Models with random weights are made as they are needed, in --models (kept) or in a temporary folder. Parts that
// bench/results/speed.json has already for the same code are skipped unless --again. --quick measures less, keeps it apart and
// prints it. --packed and --gguf name a real packed model, the GGUF file it was made from and others of its shape; they are
// measured as the part `real`. Needs `npm run build`, and
// `npm run bench:install` for the comparisons with node-llama-cpp.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { allTables, writeTables } from "./tables.mjs";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    again: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
    models: { type: "string" },
    packed: { type: "string" },
    gguf: { type: "string", multiple: true },
  },
});
const { quick, again } = values;
const root = join(import.meta.dirname, "..");
// A short look is not what the documents show.
const results = join(import.meta.dirname, "results", quick ? "speed-quick.json" : "speed.json");
const rounds = values.rounds ?? (quick ? "2" : "5");

const HOW = ["--rounds", rounds, "--quiet-cores", "0.1"];
// Long enough that the first tokens after a rest, when threads have yet to find a core each, are few among them.
const SMALL = [...(quick ? ["--prefill", "128", "--context", "64"] : []), "--decode-tokens", "128"];
const LARGE = ["--prefill", "128", "--context", quick ? "64" : "64,256", "--decode-tokens", "16"];
const packed = (shape, bpw, bits) => ({ name: `${shape}-${bpw}bpw-e${bits}`, shape, bpw, bits });
const gguf = (shape, type) => ({ name: `${shape}-${type}.gguf`, shape, type });

/** What is measured: a model, what it is measured against, and how. */
const contests = [
  {
    id: "smollm2-135m",
    model: packed("smollm2-135m", 0.55, 8),
    against: (quick ? ["q4_0"] : ["q4_0", "q4_1", "q8_0"]).map((type) => gguf("smollm2-135m", type)),
    flags: SMALL,
  },
  {
    id: "embeddings",
    model: packed("smollm2-135m", 0.55, 4),
    against: [packed("smollm2-135m", 0.55, 8), packed("smollm2-135m", 0.55, 16)],
    flags: ["--prefill", "128", "--context", "64"],
  },
  {
    id: "llama-1b",
    model: packed("llama-1b", 0.55, 8),
    against: [gguf("llama-1b", "q4_0")],
    flags: quick ? SMALL : ["--prefill", "128,512", "--context", "64,256"],
  },
  ...[0.1, 0.3, 0.55].map((bpw) => ({
    id: `llama-7b-${bpw}`,
    model: packed("llama-7b", bpw, 4),
    against: [],
    // The smallest is to fit where memory is short: 8-bit cache, and no more context than its longest figure.
    flags: bpw === 0.1 ? [...LARGE, "--kv-bits", "8"] : LARGE,
    long: true,
  })),
];
const parts = [
  ...contests.filter(({ long }) => !(long && quick)).map((part) => [part.id, () => contest(part)]),
  ...(values.packed && values.gguf ? [["real", real]] : []),
  ...["smollm2-135m", "llama-1b"].map((shape) => [`profile-${shape}`, () => profile(packed(shape, 0.55, 8))]),
  ["kernels", () => subbit(["bench", "--kernels", "--threads", "1,2", "--rounds", quick ? "3" : "9"])],
  ["linear", () => tool(["linear.mjs", "--rounds", quick ? "3" : "9"])],
  ["cycles", () => tool(["cycles.mjs", "--cycles", quick ? "40" : "200"], ["--expose-gc"])],
];

const scratch = values.models === undefined ? mkdtempSync(join(tmpdir(), "subbit-bench-")) : undefined;
const models = resolve(values.models ?? scratch);
mkdirSync(models, { recursive: true });
const code = measuredCode();
const only = values.only?.split(",");
const unknown = only?.find((id) => !parts.some(([part]) => part === id));
let interrupted = false;
process.on("SIGINT", () => (interrupted = true));
try {
  if (unknown !== undefined)
    throw new Error(`There is no part ${unknown}; parts are ${parts.map(([id]) => id).join(", ")}.`);
  for (const [id, run] of parts) {
    if (interrupted || (only && !only.includes(id))) continue;
    const known = readResults().parts[id];
    if (!again && code.clean && known?.code === code.tree) {
      process.stderr.write(`${id}: measured already for this code (--again measures anew).\n`);
      continue;
    }
    process.stderr.write(`${id} ...\n`);
    const begin = Date.now();
    const result = await run();
    const seconds = Math.round((Date.now() - begin) / 1000);
    const all = readResults();
    all.parts[id] = { code: code.tree, commit: code.commit, clean: code.clean, seconds, result };
    writeFileSync(results, `${JSON.stringify(all, null, 2)}\n`);
  }
  if (quick) process.stdout.write(`${allTables(readResults().parts)}\n`);
  else await writeTables();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
}

async function contest({ model, against, flags }) {
  for (const each of [model, ...against]) await make(each);
  const names = against.map(({ name }) => name);
  try {
    return await subbit([
      ...["bench", model.name, ...flags, ...HOW],
      ...(names.length > 0 ? ["--against", ...names] : []),
    ]);
  } finally {
    // Large files of a temporary folder do not wait for the end.
    if (scratch !== undefined) {
      for (const { name } of [model, ...against])
        rmSync(join(models, name), { recursive: true, force: true });
    }
  }
}

async function profile(model) {
  await make(model);
  return { name: model.name, ...(await subbit(["bench", model.name, "--profile", "--context", "64"])) };
}

/** The files go by their own names, wherever they lie. */
async function real() {
  const flags = [...SMALL, ...HOW, "--against", ...values.gguf.map((file) => resolve(file))];
  const result = await subbit(["bench", resolve(values.packed), ...flags]);
  for (const row of result.rows) row.file = basename(row.file);
  for (const ratio of result.ratios) ratio.against = basename(ratio.against);
  return result;
}

async function make({ name, shape, bpw, bits, type }) {
  const path = join(models, name);
  if (existsSync(path)) return;
  process.stderr.write(`  making ${name}\n`);
  if (type !== undefined) {
    await node([join(import.meta.dirname, "make-gguf.mjs"), "--shape", shape, "--type", type, path]);
    return;
  }
  const { writeSynthetic } = await import("../packages/cli/dist/bench/synthetic.js");
  await writeSynthetic(path, { shape, bpw, embedBits: bits });
}

async function subbit(args) {
  return JSON.parse(await node([join(root, "packages/cli/bin/subbit.js"), ...args, "--json"]));
}

async function tool([name, ...args], flags = []) {
  const out = join(models, "result.json");
  await node([...flags, join(import.meta.dirname, name), ...args, "--json", out]);
  const result = JSON.parse(readFileSync(out, "utf8"));
  rmSync(out);
  return result;
}

/** In the folder of the models, so that nothing but their names reaches the results. */
function node(args) {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, args, { cwd: models, stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
    child.on("error", fail);
    child.on("close", (status) => {
      if (status === 0) done(output);
      else
        fail(
          new Error(
            `node ${args
              .slice(0, 3)
              .map((arg) => basename(arg))
              .join(" ")} ended with ${status}.`,
          ),
        );
    });
  });
}

function readResults() {
  return existsSync(results) ? JSON.parse(readFileSync(results, "utf8")) : { parts: {} };
}

/** What the figures depend on: a commit that touches only documents does not make them old. */
function measuredCode() {
  const git = (...args) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
  const folders = ["packages/core", "packages/runtime", "packages/cli/src/bench"];
  try {
    return {
      commit: git("rev-parse", "--short", "HEAD"),
      tree: folders.map((folder) => git("rev-parse", "--short", `HEAD:${folder}`)).join("-"),
      clean: git("status", "--porcelain", "--", ...folders) === "",
    };
  } catch {
    return { commit: "unknown", tree: "unknown", clean: false };
  }
}
