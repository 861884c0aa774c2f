import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { OP_SIGN_PRODUCT, OP_SIGN_TABLES, SIGN_BLOCK, TABLE_BYTES_PER_INPUT } from "../src/abi.js";
import { packSigns, packedSignBytes } from "../src/weights/pack-signs.js";
import {
  Bench,
  ALL_BACKENDS,
  gaussian,
  generator,
  pad,
  relativeError,
  type Backend,
} from "./kernel-harness.js";

/** 12-bit group sums of gaussian inputs: 5.7e-4 measured; 1e-3 is what the runtime promises. */
const SIGN_ERROR = 1e-3;
const SEED = Date.now() & 0xffff;

const SHAPES = [
  [1, 1],
  [16, 32],
  [17, 33],
  [5, 700],
  [80, 576],
  [576, 80],
  [100, 1537],
] as const;

function randomSigns(rows: number, cols: number, seed: number) {
  const next = generator(seed);
  const words = Uint32Array.from({ length: rows * Math.ceil(cols / 32) }, () => next() * 4294967296);
  // The format pads rows with +1 = 0.
  if (cols % 32)
    for (let r = 1; r <= rows; r++) words[r * Math.ceil(cols / 32) - 1] &= (1 << (cols % 32)) - 1;
  return { rows, cols, words };
}

/** Scales near one: a gaussian stays a gaussian. */
function inputScale(cols: number, seed: number): Float32Array {
  const next = generator(seed);
  return Float32Array.from({ length: cols }, () => 0.75 + next() / 2);
}

interface Case {
  rows: number;
  cols: number;
  tokens: number;
  x: Float32Array;
  seed: number;
  full?: boolean;
}

/** y = a o S (b o x) (+ y before + bias + residual), [tokens, stride] */
async function product(backend: Backend, { rows, cols, tokens, x, seed, full = false }: Case) {
  const bench = new Bench(backend, tokens);
  const [rowsPad, colsPad, stride] = [pad(rows, 16), pad(cols, 32), pad(rows, 32)];
  const packed = new Uint8Array(packedSignBytes(rows, cols));
  packSigns(randomSigns(rows, cols, seed), packed);
  const tableStride = colsPad * TABLE_BYTES_PER_INPUT + pad(Math.ceil(colsPad / SIGN_BLOCK) * 4, 16);
  const tables = bench.room(tokens * tableStride);
  const src = bench.putRows(x, cols, colsPad);
  const inScale = full ? bench.putRows(inputScale(cols, seed + 1), cols, colsPad) : 0;
  const outScale = bench.putRows(
    full ? gaussian(rows, seed + 2) : new Float32Array(rows).fill(1),
    rows,
    rowsPad,
  );
  const bias = full ? bench.putRows(gaussian(rows, seed + 3), rows, rowsPad) : 0;
  const residual = full ? bench.putRows(gaussian(tokens * rows, seed + 4), rows, stride) : 0;
  const dst = bench.putRows(gaussian(tokens * rows, seed + 5), rows, stride);
  bench.emit([OP_SIGN_TABLES, src, colsPad, tables, tableStride, colsPad, inScale, 1]);
  bench.emit([
    OP_SIGN_PRODUCT,
    tables,
    tableStride,
    dst,
    stride,
    bench.put(packed),
    rowsPad,
    colsPad,
    outScale,
    bias,
    residual,
    full ? 1 : 0,
  ]);
  await bench.run();
  return bench.read(dst, tokens * stride);
}

function truth({ rows, cols, tokens, x, seed, full = false }: Case): Float64Array {
  const { words } = randomSigns(rows, cols, seed);
  const b = inputScale(cols, seed + 1);
  const [a, bias, residual, before] = [2, 3, 4, 5].map((i) =>
    gaussian(i < 4 ? rows : tokens * rows, seed + i),
  );
  const stride = pad(rows, 32);
  const y = new Float64Array(tokens * stride);
  for (let t = 0; t < tokens; t++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) {
        const minus = (words[r * Math.ceil(cols / 32) + (c >> 5)] >>> (c & 31)) & 1;
        sum += (minus ? -1 : 1) * x[t * cols + c] * (full ? b[c] : 1);
      }
      y[t * stride + r] = full ? sum * a[r] + before[t * rows + r] + bias[r] + residual[t * rows + r] : sum;
    }
  }
  return y;
}

/**
 * Error relative to the expected size of the products, |x| for each row of signs: with few rows the products themselves may
 * cancel. Scales, where there are any, multiply both.
 */
function signError(got: Float32Array, test: Case): number {
  const { rows, cols, tokens, x, seed, full = false } = test;
  const [a, b] = [gaussian(rows, seed + 2), inputScale(cols, seed + 1)];
  const want = truth(test);
  let error = 0;
  let size = 0;
  for (let i = 0; i < want.length; i++) error += (got[i] - want[i]) ** 2;
  for (let i = 0; i < tokens * cols; i++) size += (x[i] * (full ? b[i % cols] : 1)) ** 2;
  const scales = full ? a.reduce((sum, v) => sum + v * v, 0) : rows;
  return Math.sqrt(error / ((size / tokens) * scales * tokens));
}

describe(`sign product, seed ${SEED}`, () => {
  it.each(SHAPES)(
    "%i x %i: twin within 1e-3 of the truth, WebAssembly equal to the twin bit for bit",
    async (rows, cols) => {
      for (const tokens of [1, 3]) {
        for (const full of [false, true]) {
          const seed = SEED + rows * 31 + cols;
          const test = { rows, cols, tokens, seed, full, x: gaussian(tokens * cols, seed + 9) };
          const twin = await product("twin", test);
          // Few outputs scatter around the mean error.
          const scatter = 1 + 3 / Math.sqrt(rows * tokens);
          expect(signError(twin, test)).toBeLessThan(SIGN_ERROR * scatter);
          for (const backend of ALL_BACKENDS) expect(await product(backend, test)).toEqual(twin);
        }
      }
    },
  );

  it("bears outliers, zeros and tiny values", async () => {
    const x = gaussian(1024, SEED);
    for (let i = 0; i < x.length; i += 500) x[i] *= 60;
    const test = { rows: 64, cols: 1024, tokens: 1, x, seed: SEED };
    expect(relativeError(await product("relaxed", test), truth(test))).toBeLessThan(4e-3);
    const zeros = { ...test, x: new Float32Array(1024) };
    expect((await product("relaxed", zeros)).every((y) => y === 0)).toBe(true);
    const tiny = { ...test, x: new Float32Array(1024).fill(1e-40) };
    expect((await product("relaxed", tiny)).every((y) => y === 0)).toBe(true);
    expect(await product("relaxed", tiny)).toEqual(await product("twin", tiny));
  });

  it("packs every sign once: another bit gives other bytes", () => {
    const hashes = new Set<string>();
    for (let bit = -1; bit < 64; bit++) {
      const words = new Uint32Array(2);
      if (bit >= 0) words[bit >> 5] |= 1 << (bit & 31);
      const out = new Uint8Array(packedSignBytes(1, 64));
      packSigns({ rows: 1, cols: 64, words }, out);
      hashes.add(createHash("sha256").update(out).digest("hex"));
    }
    expect(hashes.size).toBe(65);
  });
});
