// Speed of the kernels, in place: `node packages/runtime/scripts/bench-kernels.mjs [threads ...]` after a build.
// Each figure is the median (best) of several runs of a program that repeats one product; tables and barriers included.
import * as abi from "../dist/abi.js";
import { planExecution } from "../dist/executors/open.js";
import { Arena } from "../dist/weights/arena.js";
import { packedSignBytes } from "../dist/weights/pack-signs.js";

const RUNS = 9;
const pad = (n, to) => Math.ceil(n / to) * to;
const threadCounts = process.argv.slice(2).map(Number);

/** Memory, an executor and a program that repeats `instructions`, with a barrier after each. */
async function prepare(threads, tokens, makeInstructions, repeats) {
  const plan = await planExecution("cpu", threads);
  const arena = new Arena(plan.shared);
  const instructions = makeInstructions(arena);
  const words = [];
  for (let i = 0; i < repeats; i++) {
    for (const instruction of instructions) {
      for (const each of [instruction, [abi.OP_BARRIER]]) {
        words.push(...each, ...new Array(abi.INSTRUCTION_WORDS - each.length).fill(0));
      }
    }
  }
  const start = arena.allocate(words.length * 4);
  const scratch = arena.allocate(threads * 2 ** 20);
  const control = new Uint32Array(arena.memory.buffer);
  control.set(words, start >>> 2);
  control[abi.CTRL_THREADS >>> 2] = threads;
  control[abi.CTRL_TOKENS >>> 2] = tokens;
  control[abi.CTRL_SCRATCH >>> 2] = scratch;
  control[abi.CTRL_SCRATCH_STRIDE >>> 2] = 2 ** 20;
  arena.bytes(abi.CTRL_NIBBLE_MASK, 16).fill(15);
  const executor = await plan.open(arena.memory);
  return { executor, run: () => executor.run(start, start + words.length * 4), simd: plan.capabilities.simd };
}

/** Milliseconds of one repetition, median and best. */
async function measure(threads, tokens, makeInstructions, guess) {
  const repeats = Math.max(1, Math.min(2000, Math.round(20 / guess)));
  const { executor, run } = await prepare(threads, tokens, makeInstructions, repeats);
  // The optimising compiler takes over after some calls.
  for (let i = 0; i < 5; i++) await run();
  const times = [];
  for (let i = 0; i < RUNS; i++) {
    const begin = performance.now();
    await run();
    times.push((performance.now() - begin) / repeats);
  }
  await executor.dispose();
  times.sort((a, b) => a - b);
  return { median: times[RUNS >> 1], best: times[0] };
}

function fillRandom(arena, at, bytes) {
  const view = arena.bytes(at, bytes);
  for (let i = 0; i < bytes; i += 65536)
    crypto.getRandomValues(new Uint8Array(65536)).forEach((v, j) => (view[i + j] = v));
}

function gaussianRow(arena, floats, tokens) {
  return arena.putFloats(
    Float32Array.from({ length: floats * tokens }, () => Math.random() + Math.random() - 1),
    floats * tokens,
  );
}

const signProduct = (rows, cols, tokens) => (arena) => {
  const [rowsPad, colsPad, stride] = [pad(rows, 16), pad(cols, 32), pad(rows, 32)];
  const bytes = packedSignBytes(rows, cols);
  const weights = arena.allocate(bytes);
  fillRandom(arena, weights, bytes);
  const tableStride = pad(colsPad * abi.TABLE_BYTES_PER_INPUT + 4 * Math.ceil(colsPad / abi.SIGN_BLOCK), 64);
  const x = gaussianRow(arena, colsPad, tokens);
  const scale = gaussianRow(arena, Math.max(rowsPad, colsPad), 1);
  const tables = arena.allocate(tableStride * tokens);
  const y = arena.allocate(stride * 4 * tokens);
  return [
    [abi.OP_SIGN_TABLES, x, colsPad, tables, tableStride, colsPad, scale, 0],
    [abi.OP_SIGN_PRODUCT, tables, tableStride, y, stride, weights, rowsPad, colsPad, scale, 0, 0, 0],
  ];
};

const dense = (dtype, bytesPer, rows, cols, tokens) => (arena) => {
  const rowBytes = cols * bytesPer;
  const weights = arena.allocate(rows * rowBytes);
  // 0x2c2c...: a small normal number in every float format.
  arena.bytes(weights, rows * rowBytes).fill(0x2c);
  const x = gaussianRow(arena, pad(cols, 32), tokens);
  const scales = bytesPer <= 1 ? gaussianRow(arena, rows, 1) : 0;
  const y = arena.allocate(pad(rows, 32) * 4 * tokens);
  return [
    [abi.OP_DENSE, x, pad(cols, 32), y, pad(rows, 32), weights, dtype, rows, cols, rowBytes, scales, 0, 0, 0],
  ];
};

const print = (...cells) =>
  process.stdout.write(cells.map((cell, i) => String(cell).padEnd(i === 0 ? 34 : 16)).join("") + "\n");
const { simd } = await prepare(1, 1, signProduct(16, 32, 1), 1).then(async (bench) => {
  await bench.executor.dispose();
  return bench;
});
for (const threads of threadCounts.length > 0 ? threadCounts : [1, 2]) {
  print(`${threads} thread(s), ${simd} SIMD`, "median", "best");
  for (const [rows, cols, tokens] of [
    [4096, 4096, 1],
    [4096, 1024, 1],
    [1536, 576, 1],
    [576, 576, 1],
    [80, 4096, 1],
    [4096, 80, 1],
    [1536, 576, 32],
  ]) {
    const work = (rows * cols * tokens) / 1e6;
    const { median, best } = await measure(threads, tokens, signProduct(rows, cols, tokens), work / 60);
    print(
      `sign ${rows}x${cols}, ${tokens} token(s)`,
      `${(work / median).toFixed(1)} Gsmac/s`,
      `${(work / best).toFixed(1)}`,
    );
  }
  for (const [name, dtype, bytesPer] of [
    ["f32", abi.DTYPE_F32, 4],
    ["f16", abi.DTYPE_F16, 2],
    ["bf16", abi.DTYPE_BF16, 2],
    ["i8", abi.DTYPE_I8, 1],
    ["i4", abi.DTYPE_I4, 0.5],
  ]) {
    for (const [rows, cols, tokens] of [
      [49152, 576, 1],
      [1536, 576, 1],
      [1536, 576, 32],
    ]) {
      const macs = (rows * cols * tokens) / 1e6;
      const { median, best } = await measure(
        threads,
        tokens,
        dense(dtype, bytesPer, rows, cols, tokens),
        macs / 6,
      );
      const figure = (ms) =>
        tokens === 1 ? `${((macs * bytesPer) / ms).toFixed(1)} GB/s` : `${(macs / ms).toFixed(1)} GMAC/s`;
      print(`${name} ${rows}x${cols}, ${tokens} token(s)`, figure(median), figure(best));
    }
  }
}
