import { f16BitsToF32 } from "@subbit/core";
import { describe, expect, it } from "vitest";
import {
  CTRL_HEAD_FIRST,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  DTYPE_I2,
  DTYPE_I4,
  DTYPE_I8,
  M_WIDTH,
  OP_DENSE,
  OP_EMBED,
} from "../src/abi.js";
import {
  Bench,
  ALL_BACKENDS,
  gaussian,
  generator,
  maxDifference,
  pad,
  twinCheck,
  type Backend,
} from "./kernel-harness.js";

/** Error of a float32 sum of up to a thousand products relative to the sum of their sizes: about 1e-7 measured. */
const F32_ERROR = 1e-6;
const SEED = (Date.now() >> 3) & 0xffff;
const DTYPES = {
  f32: DTYPE_F32,
  f16: DTYPE_F16,
  bf16: DTYPE_BF16,
  i8: DTYPE_I8,
  i4: DTYPE_I4,
  i2: DTYPE_I2,
} as const;
type Name = keyof typeof DTYPES;

/** Random stored codes of a padded matrix and the values they stand for. */
function randomMatrix(name: Name, rows: number, cols: number, seed: number) {
  const colsPad = pad(cols, 16);
  const rowsPad = pad(rows, 4);
  const next = generator(seed);
  const values = new Float64Array(rows * cols);
  const scales = new Float32Array(rowsPad);
  for (let r = 0; r < rows; r++) scales[r] = 0.01 + next();
  const bytesOf = { f32: 4, f16: 2, bf16: 2, i8: 1, i4: 0.5, i2: 0.25 }[name];
  const bytes = new Uint8Array(rowsPad * colsPad * bytesOf);
  // Code 8 stands for zero.
  if (name === "i4") bytes.fill(0x88);
  // No 2-bit code does: whatever pads a row must not count.
  if (name === "i2") bytes.fill(0xe7);
  const u16 = new Uint16Array(bytes.buffer);
  const f32 = bytesOf === 4 ? new Float32Array(bytes.buffer) : undefined;
  const scratch = new Float32Array(1);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const at = r * colsPad + c;
      let value = 0;
      if (f32) value = f32[at] = next() - 0.5;
      else if (name === "f16") {
        // Any finite half, subnormals and both zeros among them.
        u16[at] = (next() < 0.1 ? next() * 1024 : 0x2000 + next() * 0x2000) | (next() < 0.5 ? 0x8000 : 0);
        value = f16BitsToF32(u16[at]);
      } else if (name === "bf16") {
        scratch[0] = next() - 0.5;
        u16[at] = new Uint32Array(scratch.buffer)[0] >>> 16;
        value = new Float32Array(Uint32Array.of(u16[at] << 16).buffer)[0];
      } else if (name === "i8") {
        bytes[at] = next() * 256;
        value = ((bytes[at] << 24) >> 24) * scales[r];
      } else if (name === "i2") {
        const code = Math.floor(next() * 4);
        const shift = (at & 3) * 2;
        bytes[at >> 2] = (bytes[at >> 2] & ~(3 << shift)) | (code << shift);
        value = (code - 1.5) * scales[r];
      } else {
        const code = Math.floor(next() * 16);
        bytes[at >> 1] = (bytes[at >> 1] & (240 >> ((at & 1) * 4))) | (code << ((at & 1) * 4));
        value = (code - 8) * scales[r];
      }
      values[r * cols + c] = value;
    }
  }
  return {
    bytes,
    values,
    scales: ["i8", "i4", "i2"].includes(name) ? scales : undefined,
    rowBytes: colsPad * bytesOf,
    colsPad,
    rowsPad,
  };
}

async function denseProduct(
  backend: Backend,
  name: Name,
  rows: number,
  cols: number,
  tokens: number,
  first = 0,
  threads = 1,
) {
  const bench = new Bench(backend, tokens);
  const matrix = randomMatrix(name, rows, cols, SEED);
  const stride = pad(rows, 32);
  bench.views.u32[CTRL_HEAD_FIRST >> 2] = first;
  const src = bench.putRows(gaussian(tokens * cols, SEED + 1), cols, pad(cols, 32));
  const bias = bench.putRows(gaussian(rows, SEED + 2), rows, matrix.rowsPad);
  const residual = bench.putRows(gaussian(tokens * rows, SEED + 3), rows, stride);
  const dst = bench.room(tokens * stride * 4);
  bench.emit([
    OP_DENSE,
    src,
    pad(cols, 32),
    dst,
    stride,
    bench.put(matrix.bytes),
    DTYPES[name],
    rows,
    matrix.colsPad,
    matrix.rowBytes,
    matrix.scales ? bench.put(matrix.scales) : 0,
    bias,
    residual,
    first ? 1 : 0,
  ]);
  await bench.run(threads);
  return bench.read(dst + first * stride * 4, (tokens - first) * stride);
}

function denseTruth(name: Name, rows: number, cols: number, tokens: number) {
  const { values } = randomMatrix(name, rows, cols, SEED);
  const [x, bias, residual] = [
    gaussian(tokens * cols, SEED + 1),
    gaussian(rows, SEED + 2),
    gaussian(tokens * rows, SEED + 3),
  ];
  const stride = pad(rows, 32);
  const y = new Float64Array(tokens * stride);
  const size = new Float64Array(tokens * stride);
  for (let t = 0; t < tokens; t++) {
    for (let r = 0; r < rows; r++) {
      const terms = [bias[r], residual[t * rows + r]];
      for (let c = 0; c < cols; c++) terms.push(values[r * cols + c] * x[t * cols + c]);
      y[t * stride + r] = terms.reduce((sum, term) => sum + term, 0);
      size[t * stride + r] = terms.reduce((sum, term) => sum + Math.abs(term), 0);
    }
  }
  return { y, size };
}

/** `SUBBIT_SLOW_TESTS=1` for a thousand. */
const RANDOM_CASES = process.env.SUBBIT_SLOW_TESTS === "1" ? 1000 : 25;

it(`dense products of ${RANDOM_CASES} random shapes are their twin's, cut for any number of threads`, async () => {
  const next = generator(SEED + 7);
  const upTo = (n: number): number => 1 + Math.floor(next() * n);
  const names = Object.keys(DTYPES) as Name[];
  for (let i = 0; i < RANDOM_CASES; i++) {
    const [rows, cols] = [120, 500].map((most) => [1, upTo(20), upTo(most)][upTo(3) - 1]);
    const [name, tokens, threads] = [names[upTo(names.length) - 1], upTo(9), upTo(4)];
    const check = twinCheck();
    for (const backend of ALL_BACKENDS) {
      const count = backend.endsWith("twin") ? 1 : threads;
      check(backend, await denseProduct(backend, name, rows, cols, tokens, 0, count));
    }
  }
});

describe.each(Object.keys(DTYPES) as Name[])(`dense product of %s, seed ${SEED}`, (name) => {
  it.each([
    [1, 1],
    [3, 5],
    [4, 16],
    [33, 47],
    [130, 576],
    [7, 1000],
  ])("%i x %i", async (rows, cols) => {
    for (const tokens of [1, 2, 5]) {
      const { y, size } = denseTruth(name, rows, cols, tokens);
      const check = twinCheck();
      for (const backend of ALL_BACKENDS) {
        const got = await denseProduct(backend, name, rows, cols, tokens);
        got.forEach((value, i) => expect(Math.abs(value - y[i])).toBeLessThanOrEqual(F32_ERROR * size[i]));
        check(backend, got);
      }
    }
  });

  it("gives a token the same bits alone and in a tile, and only the tokens asked for", async () => {
    for (const backend of ["baseline", "relaxed"] as const) {
      const all = await denseProduct(backend, name, 21, 100, 5);
      for (const first of [2, 3, 4]) {
        expect(await denseProduct(backend, name, 21, 100, 5, first)).toEqual(all.slice(first * 32));
      }
    }
  });

  it("looks rows of an embedding up", async () => {
    const matrix = randomMatrix(name, 9, 37, SEED);
    const ids = [8, 0, 3];
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, ids.length);
      bench.setIds(ids);
      const dst = bench.room(ids.length * 64 * 4);
      const scales = matrix.scales ? bench.put(matrix.scales) : 0;
      bench.emit([
        OP_EMBED,
        0,
        0,
        dst,
        64,
        bench.put(matrix.bytes),
        DTYPES[name],
        9,
        matrix.colsPad,
        matrix.rowBytes,
        scales,
        ...Array.from({ length: M_WIDTH - 11 }, () => 0),
        37,
      ]);
      await bench.run();
      const got = bench.read(dst, ids.length * 64);
      const want = new Float32Array(ids.length * 64);
      ids.forEach((id, t) => want.set(matrix.values.slice(id * 37, id * 37 + 37), t * 64));
      // i8, i4 and i2: one rounding of code times scale.
      expect(maxDifference(got, want)).toBeLessThan(1e-5);
      expect(got.slice(37, 64).every((v) => v === 0)).toBe(true);
    }
  });
});
