// Relative error and time of factorisations, beside figures of other code in a CSV.
//
//   node bench/factorise.mjs MATRIX.safetensors... [--methods onebit,littlebit,littlebit:itq,dbf,mdbf:envelope=4:schedule=official]
//     [--bpw 1,0.55] [--threads 1] [--reference FILE.csv] [--json FILE]
//
// A method is its name and, after colons, an init or `option=value`. Rows are appended to --json one line each; those that
// stand there already are not measured again. `ratioToMatmul` is wall time over that of a 2048^3 product in single
// precision on the same engine and threads, measured right before and after. Needs `npm run build`.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { Factoriser } from "../packages/compress/dist/factorise/index.js";
import { honestBpw, openSafetensors } from "../packages/core/dist/index.js";
import { fileSource } from "../packages/core/dist/node.js";
import { compile, Graph, ops } from "../packages/engine/dist/index.js";

const MATMUL = 2048;
const DEFAULT_METHODS =
  "onebit:svd,onebit:nmf,littlebit:dual-svid:paths=1,littlebit:dual-svid,littlebit:itq:paths=1,littlebit:itq";
const NUMBERS = ["paths", "envelope", "scaleBits", "iterations", "refineSteps", "seed"];

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    methods: { type: "string", default: DEFAULT_METHODS },
    bpw: { type: "string", default: "1,0.55" },
    threads: { type: "string", default: "1" },
    reference: { type: "string" },
    json: { type: "string" },
  },
});

/** `dbf:schedule=official` -> { method: "dbf", schedule: "official" } */
function methodOf(text) {
  const [method, ...rest] = text.split(":");
  const options = { method };
  for (const part of rest) {
    const [name, value] = part.split("=");
    if (value === undefined) options.init = name;
    else options[name] = NUMBERS.includes(name) ? Number(value) : value;
  }
  return options;
}

async function readMatrix(path) {
  const file = await openSafetensors(await fileSource(path));
  const [rows, cols] = file.tensors.get("weight").shape;
  const weight = await file.readF32("weight");
  await file.close();
  return { name: basename(path, ".safetensors"), weight, rows, cols };
}

async function matmulTimer(threads) {
  const graph = new Graph();
  const [a, b] = ["a", "b"].map((name) => graph.input(name, [MATMUL, MATMUL]));
  graph.output("c", ops.matmul(a, b));
  const program = await compile(graph, { threads });
  const [left, right] = [1, 2].map((seed) =>
    Float32Array.from({ length: MATMUL ** 2 }, (_, i) => Math.sin(seed * i)),
  );
  return {
    async seconds() {
      const start = performance.now();
      await program.run({ a: left, b: right });
      return (performance.now() - start) / 1000;
    },
    dispose: () => program.dispose(),
  };
}

/** Columns `matrix, method, bpw_target, envelope, rel_error, seconds` of a CSV with a header. */
function readReference(path) {
  const [header, ...lines] = readFileSync(path, "utf8").trim().split("\n");
  const names = header.split(",");
  return lines.map((line) =>
    Object.fromEntries(
      line.split(",").map((cell, i) => [names[i], i === 0 || i === 3 ? cell : Number(cell)]),
    ),
  );
}

/** What the reference calls a method of ours. */
function officialName({ method, init }, paths) {
  if (method === "onebit") return `onebit-${init ?? "svd"}`;
  if (method === "littlebit" && init !== "admm")
    return `littlebit${paths > 1 ? "-residual" : ""}${init === "itq" ? "-itq-ours" : ""}`;
  if (method === "dbf" || (method === "littlebit" && paths === 1)) return "dbf-admm";
  if (method === "mdbf" && init !== "closed-form") return "mdbf-admm";
  return method === "nanoquant" || method === "auto" ? "nanoquant-lbadmm" : undefined;
}

async function main() {
  const threads = Number(args.threads);
  const reference = args.reference === undefined ? [] : readReference(args.reference);
  const done = new Set();
  if (args.json !== undefined && existsSync(args.json))
    for (const line of readFileSync(args.json, "utf8").trim().split("\n"))
      if (line) done.add(keyOf(JSON.parse(line)));
  const timer = await matmulTimer(threads);
  await timer.seconds();
  for (const path of positionals) {
    const matrix = await readMatrix(path);
    for (const text of args.methods.split(",")) {
      const options = methodOf(text);
      const sizes = options.method === "onebit" ? [1] : args.bpw.split(",").map(Number);
      for (const bpwTarget of sizes) {
        const key = keyOf({ matrix: matrix.name, asked: text, bpwTarget, threads });
        if (!done.has(key)) await measure({ matrix, text, options, bpwTarget, threads, timer, reference });
      }
    }
  }
  await timer.dispose();
}

function keyOf({ matrix, asked, bpwTarget, threads }) {
  return [matrix, asked, bpwTarget, threads].join(" ");
}

async function measure({ matrix, text, options, bpwTarget, threads, timer, reference }) {
  const { weight, rows, cols } = matrix;
  const sized = options.method === "onebit" ? {} : { bpw: bpwTarget };
  const before = await timer.seconds();
  const cpuBefore = process.cpuUsage();
  const factoriser = new Factoriser({ threads });
  const { linear, relError, seconds } = await factoriser.factorise(weight, rows, cols, {
    ...options,
    ...sized,
  });
  await factoriser.dispose();
  const cpu = process.cpuUsage(cpuBefore);
  const matmul = (before + (await timer.seconds())) / 2;
  const paths = linear.kind === "factored" ? linear.paths.length : 1;
  const envelope = linear.kind === "factored" ? linear.paths[0].envelope : 1;
  const name = officialName(options, paths);
  const official = reference.find(
    (row) =>
      row.matrix === matrix.name &&
      row.method === name &&
      row.bpw_target === bpwTarget &&
      row.envelope === envelope,
  );
  const row = {
    matrix: matrix.name,
    asked: text,
    method: options.method,
    init: options.init ?? null,
    schedule: options.schedule ?? "tuned",
    bpwTarget,
    bpw: honestBpw(linear),
    rank: linear.kind === "factored" ? linear.paths[0].rank : null,
    paths,
    envelope,
    scaleBits: linear.scaleBits ?? 16,
    relError,
    seconds,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    threads,
    official: official ? { method: name, relError: official.rel_error, seconds: official.seconds } : null,
    ratioToMatmul: seconds / matmul,
  };
  if (args.json !== undefined) appendFileSync(args.json, `${JSON.stringify(row)}\n`);
  const beside = official
    ? `official ${official.rel_error.toFixed(4)} (${((relError / official.rel_error - 1) * 100).toFixed(2)} %)`
    : "";
  console.log(
    [
      matrix.name.padEnd(26),
      text.padEnd(36),
      String(bpwTarget).padEnd(5),
      `rank ${row.rank ?? "-"}`.padEnd(9),
      relError.toFixed(4),
      beside.padEnd(28),
      `${seconds.toFixed(1)} s, CPU ${row.cpuSeconds.toFixed(1)} s, ${row.ratioToMatmul.toFixed(1)} matmuls`,
    ].join("  "),
  );
}

await main();
