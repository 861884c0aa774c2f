// One large linear, batch 1: the packed form at several sizes against onnxruntime-node's MatMul with the same shape in f32 and f16.
//
//   node bench/linear.mjs [--threads 1,2] [--rounds 9] [--rows 28672] [--cols 8192] [--json FILE]
//
// Rounds go through all of them in turn; table building and barriers are included, weights are larger than the caches but for
// the smallest. Ratios are taken round by round. Needs `npm run build`.
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { freemem } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";
import { randomBytes, uniform } from "../packages/cli/dist/bench/random-bytes.js";
import { ratioOf, spreadOf } from "../packages/cli/dist/bench/statistics.js";
import { rankForBits } from "../packages/core/dist/index.js";
import { KernelBoard, weightBytesOf } from "../packages/runtime/dist/bench/index.js";
import { onnxLinear } from "./onnx-linear.mjs";

const BPW = [0.1, 0.3, 0.55, 1];
const WARM_UP_ROUNDS = 4;
/** Our threads spin for a while after a run; the other side must not pay for it. */
const PAUSE_MS = 20;
const ONNX_RUNS = 3;

export async function benchLinear({ rows = 28_672, cols = 8192, threads = [1, 2], rounds = 9, onRow } = {}) {
  const need = rows * cols * 4 * 5;
  if (freemem() < need) {
    throw new Error(
      `The f32 matrix takes about ${need} bytes of memory while it is loaded, but ${freemem()} are free.`,
    );
  }
  const result = { rows, cols, rounds, measured: [], ratios: [] };
  for (const count of threads) {
    const board = await KernelBoard.create(count);
    const rivals = [];
    try {
      const contestants = BPW.map((bpw) => {
        const rank = rankForBits({ rows, cols, midScale: false, bpw });
        const product = { kind: "factored", rows, rank, cols, tokens: 1 };
        const place = board.add(product);
        return { name: `subbit ${bpw} bpw`, bytes: weightBytesOf(product), run: () => board.run(place) };
      });
      for (const type of ["float32", "float16"]) {
        const rival = await onnxMatMul(rows, cols, type, count);
        rivals.push(rival);
        contestants.push(rival);
      }
      const times = contestants.map(() => []);
      for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
        for (const [i, contestant] of contestants.entries()) {
          await sleep(PAUSE_MS);
          const ms = await contestant.run();
          if (round >= 0) times[i].push(ms);
        }
      }
      const measured = contestants.map(({ name, bytes }, i) => ({
        name,
        threads: count,
        weightBytes: bytes,
        milliseconds: spreadOf(times[i]),
      }));
      const ours = measured.filter(({ name }) => name.startsWith("subbit"));
      const theirs = measured.filter(({ name }) => !name.startsWith("subbit"));
      for (const our of ours) {
        for (const their of theirs) {
          const ratio = { name: our.name, against: their.name, threads: count };
          result.ratios.push({ ...ratio, times: ratioOf(their.milliseconds, our.milliseconds) });
        }
      }
      result.measured.push(...measured);
      measured.forEach((row) => onRow?.(row));
    } finally {
      await board.dispose();
      for (const { release } of rivals) await release();
    }
  }
  return result;
}

async function onnxMatMul(rows, cols, type, threads) {
  const require = createRequire(join(import.meta.dirname, "../packages/engine/package.json"));
  const { InferenceSession, Tensor } = (await import(pathToFileURL(require.resolve("onnxruntime-node"))))
    .default;
  const half = type === "float16";
  const data = randomBytes(rows * cols * (half ? 2 : 4), 1);
  // Sign and mantissa stay random, the exponent becomes that of 1/64 to 1/32.
  if (half) {
    const values = new Uint16Array(data.buffer);
    for (let i = 0; i < values.length; i++) values[i] = (values[i] & 0x83ff) | 0x2400;
  } else {
    const values = new Uint32Array(data.buffer);
    for (let i = 0; i < values.length; i++) values[i] = (values[i] & 0x807fffff) | 0x3c800000;
  }
  const model = onnxLinear({ rows, cols, type, raw: data });
  const session = await InferenceSession.create(model, {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
    // Threads that spin between runs would take a core from the other side.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  const x = half
    ? new Tensor(type, new Uint16Array(cols).fill(0x3400), [1, cols])
    : new Tensor(type, uniform(cols, -1, 1, 7), [1, cols]);
  return {
    name: `onnxruntime ${half ? "f16" : "f32"} MatMul`,
    bytes: data.length,
    run: async () => {
      const begin = performance.now();
      for (let i = 0; i < ONNX_RUNS; i++) await session.run({ x });
      return (performance.now() - begin) / ONNX_RUNS;
    },
    release: () => session.release(),
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      threads: { type: "string", default: "1,2" },
      rounds: { type: "string", default: "9" },
      rows: { type: "string", default: "28672" },
      cols: { type: "string", default: "8192" },
      json: { type: "string" },
    },
  });
  const result = await benchLinear({
    rows: Number(values.rows),
    cols: Number(values.cols),
    threads: values.threads.split(",").map(Number),
    rounds: Number(values.rounds),
  });
  const show = ({ median, min, max }, digits) =>
    `${median.toFixed(digits)} (${min.toFixed(digits)}-${max.toFixed(digits)})`;
  for (const { name, against, threads, times } of result.ratios) {
    process.stdout.write(`${name}, ${threads} thread(s): ${show(times, 1)} times as fast as ${against}\n`);
  }
  for (const { name, threads, weightBytes, milliseconds } of result.measured) {
    const size = `${(weightBytes / 1e6).toFixed(1)} MB`;
    process.stdout.write(`${name}, ${threads} thread(s): ${show(milliseconds, 3)} ms, ${size}\n`);
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
  process.exit(0);
}
