// One large matrix (by default 8192 x 28672, the MLP of a 70B model) at several sizes: seconds, peak memory, error.
//
//   node bench/large-matrix.mjs [--rows 8192] [--cols 28672] [--bpw 0.1,0.55,1.0] [--iterations 60,20,12]
//        [--matrix FILE] [--json FILE] [--threads 2]
//
// The matrix is made once: decaying directions (size k^-0.5, 256 of them) under as much noise, rows and columns of uneven
// size. Each size runs in a process of its own, `subbit factorise`, so that its peak memory is its own.
import { appendFileSync, closeSync, existsSync, openSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { encodeSafetensorsHeader, f32ToF16, normalVariates } from "../packages/core/dist/index.js";
import { compile, Graph, ops } from "../packages/engine/dist/index.js";
import { subbit } from "./subbit.mjs";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "8192" },
    cols: { type: "string", default: "28672" },
    bpw: { type: "string", default: "0.1,0.55,1.0" },
    iterations: { type: "string", default: "60,20,12" },
    threads: { type: "string", default: "2" },
    matrix: { type: "string" },
    json: { type: "string" },
  },
});
const [rows, cols] = [Number(values.rows), Number(values.cols)];
const file = values.matrix ?? join(tmpdir(), `subbit-large-${rows}x${cols}.safetensors`);
if (!existsSync(file)) await makeMatrix(file);

const iterations = values.iterations.split(",");
for (const [i, bpw] of values.bpw.split(",").entries()) {
  const counts = iterations[Math.min(i, iterations.length - 1)];
  const args = ["factorise", file, "--bpw", bpw, "--iterations", counts, "--threads", values.threads];
  const result = subbit(args);
  if (result === undefined) process.exit(1);
  const { relError, seconds, cpuSeconds, peakRssBytes, rank, bpw: honest } = result;
  const row = {
    rows,
    cols,
    asked: Number(bpw),
    bpw: honest,
    rank,
    iterations: Number(counts),
    threads: Number(values.threads),
    relError,
    seconds,
    cpuSeconds,
    peakRssBytes,
  };
  console.log(JSON.stringify(row));
  if (values.json) appendFileSync(values.json, `${JSON.stringify(row)}\n`);
}

/** Written slab by slab: nothing but a slab is in memory. */
async function makeMatrix(path) {
  const directions = 256;
  const slab = 512;
  const right = normalVariates(directions * cols, { seed: 1 });
  for (let k = 0; k < directions; k++) {
    const size = 1 / Math.sqrt(k + 1);
    for (let col = 0; col < cols; col++) right[k * cols + col] *= size;
  }
  const sizes = normalVariates(cols, { seed: 2 }).map((value) => Math.exp(value / 4));
  const graph = new Graph();
  graph.output(
    "y",
    ops.matmul(graph.input("left", [slab, directions]), graph.input("right", [directions, cols])),
  );
  const program = await compile(graph, { threads: Number(values.threads) });
  const handle = openSync(path, "w");
  writeSync(handle, encodeSafetensorsHeader([{ name: "weight", dtype: "F16", shape: [rows, cols] }], {}));
  for (let begin = 0; begin < rows; begin += slab) {
    const left = normalVariates(slab * directions, { seed: 3, stream: begin });
    const { y } = await program.run({ left, right });
    const noise = normalVariates(slab * cols, { seed: 4, stream: begin });
    for (let i = 0; i < y.length; i++) y[i] = (y[i] + 2.5 * noise[i]) * 0.01 * sizes[i % cols];
    writeSync(handle, new Uint8Array(f32ToF16(y.subarray(0, Math.min(slab, rows - begin) * cols)).buffer));
  }
  closeSync(handle);
  await program.dispose();
}
