// Training speed against PyTorch: LittleBit's step on one model, one text, one set of ranks, in both, turn and turn about.
//
//   node bench/train-speed.mjs [--model models/stories-11m] [--bpw 0.8] [--text FILE] [--steps 6] [--rounds 3]
//        [--batch 4] [--seqlen 256] [--threads 1] [--python python3] [--json FILE]
//
// The packed student is made first (Dual-SVID, no tuning). A round trains it with `subbit train --recipe littlebit` and the
// same ranks with bench/torch_qat.py, each in a process of its own; what is printed is each side's median over the rounds and
// the median of the rounds' ratios. Says so and ends where Python has no torch. Needs `npm run build`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { subbit } from "./subbit.mjs";

const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    model: { type: "string", default: join(root, "models", "stories-11m") },
    bpw: { type: "string", default: "0.8" },
    text: { type: "string" },
    steps: { type: "string", default: "6" },
    rounds: { type: "string", default: "3" },
    batch: { type: "string", default: "4" },
    seqlen: { type: "string", default: "256" },
    threads: { type: "string", default: "1" },
    python: { type: "string", default: "python3" },
    json: { type: "string" },
  },
});
const { model, bpw, python, batch, seqlen, threads } = values;
const text = values.text ?? join(model, "calibration.txt");
const [steps, rounds] = [Number(values.steps), Number(values.rounds)];
const tokens = steps * Number(batch) * Number(seqlen);

const probe = spawnSync(python, ["-c", "import torch, safetensors.torch; print(torch.__version__)"], {
  encoding: "utf8",
});
if (probe.status === 0) {
  const folder = mkdtempSync(join(tmpdir(), "subbit-train-speed-"));
  try {
    report(contest(folder), probe.stdout.trim());
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
} else {
  const reason = probe.error?.message ?? probe.signal ?? probe.stderr.trim().split("\n").pop();
  console.log(`skipped: ${python} cannot import torch and safetensors (${reason}); give --python`);
}

/** One row a round and side. */
function contest(folder) {
  const packed = join(folder, "packed");
  const made = ["--method", "littlebit", "--init", "dual-svid", "--bpw", bpw, "--tune", "none"];
  // Dual-SVID as published asks no calibration; a few windows are what the command wants.
  const few = ["--calibration", text, "--samples", "4", "--seqlen", "64", "--threads", threads];
  must(subbit(["compress", model, packed, ...made, ...few]));
  const { linears } = must(subbit(["inspect", packed]));
  const ranks = join(folder, "ranks.json");
  const pairs = linears.map(({ name, paths, rank }) => [name, [paths, rank]]);
  writeFileSync(ranks, JSON.stringify(Object.fromEntries(pairs)));
  const ids = join(folder, "ids.json");
  writeFileSync(ids, JSON.stringify(must(subbit(["tokenize", model, "--file", text])).ids.slice(0, tokens)));

  const rows = [];
  for (let round = 1; round <= rounds; round++) {
    const out = join(folder, "trained");
    const shared = ["--batch", batch, "--seqlen", seqlen, "--threads", threads];
    const budget = ["--recipe", "littlebit", "--tokens", String(tokens), "--data", text, "--overwrite"];
    const ours = must(subbit(["train", packed, out, "--teacher", model, ...budget, ...shared]));
    const theirs = torch([model, "--ranks", ranks, "--ids", ids, "--steps", String(steps), ...shared]);
    for (const [engine, { tokensPerSecond, peakRssBytes }] of Object.entries({
      subbit: ours,
      torch: theirs,
    })) {
      rows.push({ round, engine, tokensPerSecond, peakRssBytes });
      console.error(`round ${round} ${engine}: ${tokensPerSecond.toFixed(1)} tokens/s`);
    }
  }
  return rows;
}

function torch(args) {
  const script = join(import.meta.dirname, "torch_qat.py");
  const run = spawnSync(python, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  return must(run.status === 0 ? JSON.parse(run.stdout.trim().split("\n").pop()) : undefined);
}

function report(rows, version) {
  const median = (numbers) => {
    const sorted = [...numbers].sort((a, b) => a - b);
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  };
  const of = (engine, field) => rows.filter((row) => row.engine === engine).map((row) => row[field]);
  const [ours, theirs] = ["subbit", "torch"].map((engine) => of(engine, "tokensPerSecond"));
  const summary = {
    model,
    bpw: Number(bpw),
    batch: Number(batch),
    seqlen: Number(seqlen),
    threads: Number(threads),
    torch: version,
    tokensPerSecond: { subbit: median(ours), torch: median(theirs) },
    peakRssBytes: {
      subbit: median(of("subbit", "peakRssBytes")),
      torch: median(of("torch", "peakRssBytes")),
    },
    /** subbit's speed over torch's. */
    ratio: median(ours.map((speed, i) => speed / theirs[i])),
    rows,
  };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(summary, null, 2)}\n`);
  console.log(JSON.stringify({ ...summary, rows: undefined }, null, 2));
}

function must(result) {
  if (result !== undefined) return result;
  console.error("A part of the comparison failed; see above.");
  process.exit(1);
}
