import { describe, expect, it } from "vitest";
import { OP_SIGN_GEMM } from "../src/abi.js";
import { packSigns, packedSignBytes } from "../src/weights/pack-signs.js";
import { Bench, gaussian, generator, pad, type Backend } from "./kernel-harness.js";

/** Group sums rounded to a 16-bit total of 128 inputs: 4.5e-4 measured on gaussian inputs; 1e-3 is what the runtime promises. */
const SIGN_ERROR = 1e-3;
const SEED = Date.now() & 0xffff;
const CASES = process.env.SUBBIT_SLOW_TESTS === "1" ? 1000 : 60;

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: number;
  readonly seed: number;
  /** With scales of the inputs and of the rows, bias, residual and what was there before. */
  readonly full: boolean;
  readonly x: Float32Array;
}

interface Operands {
  /** Bit i of word w: column 32 w + i is minus. */
  readonly words: Uint32Array;
  readonly inScale: Float32Array | undefined;
  readonly outScale: Float32Array;
  readonly bias: Float32Array | undefined;
  readonly residual: Float32Array | undefined;
  readonly before: Float32Array;
}

function makeCase(rows: number, cols: number, tokens: number, seed: number): Case {
  return { rows, cols, tokens, seed, full: seed % 2 === 0, x: gaussian(tokens * cols, seed + 9) };
}

function operands({ rows, cols, tokens, seed, full }: Case): Operands {
  const next = generator(seed);
  const wordsOfRow = Math.ceil(cols / 32);
  const words = Uint32Array.from({ length: rows * wordsOfRow }, () => next() * 4294967296);
  // The format pads rows with +1 = 0.
  if (cols % 32) for (let r = 1; r <= rows; r++) words[r * wordsOfRow - 1] &= (1 << (cols % 32)) - 1;
  return {
    words,
    inScale: full ? Float32Array.from({ length: cols }, () => 0.75 + next() / 2) : undefined,
    outScale: full ? gaussian(rows, seed + 2) : new Float32Array(rows).fill(1),
    bias: full ? gaussian(rows, seed + 3) : undefined,
    residual: full ? gaussian(tokens * rows, seed + 4) : undefined,
    before: gaussian(tokens * rows, seed + 5),
  };
}

/** y = a o S (b o x) (+ y before + bias + residual), [tokens, stride] */
async function product(backend: Backend, test: Case, threads = 1): Promise<Float32Array> {
  const { rows, cols, tokens, x, full } = test;
  const { words, inScale, outScale, bias, residual, before } = operands(test);
  const bench = new Bench(backend, tokens);
  const [rowsPad, colsPad, stride] = [pad(rows, 16), pad(cols, 32), pad(rows, 32)];
  const packed = new Uint8Array(packedSignBytes(rows, cols));
  packSigns({ rows, cols, words }, packed);
  const put = (values: Float32Array | undefined, features: number, width: number): number =>
    values === undefined ? 0 : bench.putRows(values, features, width);
  const dst = put(before, rows, stride);
  bench.emit([
    OP_SIGN_GEMM,
    put(x, cols, colsPad),
    colsPad,
    dst,
    stride,
    bench.put(packed),
    rowsPad,
    colsPad,
    put(outScale, rows, rowsPad),
    put(bias, rows, rowsPad),
    put(residual, rows, stride),
    full ? 1 : 0,
    put(inScale, cols, colsPad),
  ]);
  const guard = bench.room(64);
  await bench.run(threads);
  expect(bench.read(guard, 16).every((value) => value === 123.5)).toBe(true);
  return bench.read(dst, tokens * stride);
}

/** Root mean square error over that of the products, |b o x| |a|: the products themselves may cancel. */
function signError(got: Float32Array, test: Case): number {
  const { rows, cols, tokens, x, full } = test;
  const { words, inScale, outScale, bias, residual, before } = operands(test);
  const stride = pad(rows, 32);
  let [error, size] = [0, 0];
  for (let t = 0; t < tokens; t++) {
    const scaled = Float64Array.from({ length: cols }, (_, c) => x[t * cols + c] * (inScale?.[c] ?? 1));
    const square = scaled.reduce((sum, v) => sum + v * v, 0);
    for (let r = 0; r < stride; r++) {
      let want = 0;
      if (r < rows) {
        for (let c = 0; c < cols; c++) {
          const minus = (words[r * Math.ceil(cols / 32) + (c >> 5)] >>> (c & 31)) & 1;
          want += minus ? -scaled[c] : scaled[c];
        }
        want *= outScale[r];
        if (full) want += before[t * rows + r] + bias![r] + residual![t * rows + r];
        size += outScale[r] ** 2 * square;
      }
      error += (got[t * stride + r] - want) ** 2;
    }
  }
  return Math.sqrt(error / size);
}

describe(`sign GEMM, seed ${SEED}`, () => {
  const next = generator(SEED);
  const below = (n: number): number => 1 + Math.floor(next() * n);
  const shapes = [
    [1, 1, 1],
    [1, 300, 17],
    [300, 1, 16],
    [17, 33, 15],
    [255, 128, 33],
    [272, 129, 40],
    [576, 160, 31],
    [2100, 64, 3],
    ...Array.from({ length: CASES }, () => [below(next() < 0.2 ? 600 : 70), below(300), below(40)]),
  ];

  it(`equals its twin bit for bit, on both builds and 1 to 4 threads, near the truth: ${shapes.length} shapes`, async () => {
    for (const [i, [rows, cols, tokens]] of shapes.entries()) {
      const test = makeCase(rows, cols, tokens, SEED + i);
      const twin = await product("twin", test);
      // Few outputs scatter around the mean error.
      expect(signError(twin, test)).toBeLessThan(SIGN_ERROR * (1 + 3 / Math.sqrt(rows * tokens)));
      for (const backend of ["baseline", "relaxed"] as const) {
        const got = await product(backend, test, 1 + (i % 4));
        // Deep equality of long arrays is slow to find.
        const same = Buffer.compare(Buffer.from(got.buffer), Buffer.from(twin.buffer)) === 0;
        if (!same) expect(got, `${rows} x ${cols}, ${tokens} tokens, ${backend}`).toEqual(twin);
      }
    }
  }, 600_000);

  it("gives a token the same bits wherever it stands and whoever computes it", async () => {
    const [rows, cols, tokens] = [300, 200, 35];
    const test = { ...makeCase(rows, cols, tokens, SEED), full: false };
    const stride = pad(rows, 32);
    const whole = await product("relaxed", test);
    for (const threads of [2, 3, 4]) expect(await product("relaxed", test, threads)).toEqual(whole);
    for (const [from, count] of [
      [3, 1],
      [10, 20],
      [16, 9],
    ]) {
      const x = test.x.subarray(from * cols, (from + count) * cols);
      const part = await product("relaxed", { ...test, tokens: count, x });
      expect(part).toEqual(whole.subarray(from * stride, (from + count) * stride));
    }
  });

  it("bears outliers, zeros and tiny values", async () => {
    const test = { ...makeCase(64, 1024, 16, SEED), full: false };
    const outliers = { ...test, x: test.x.map((v, i) => (i % 500 === 0 ? v * 60 : v)) };
    expect(signError(await product("relaxed", outliers), outliers)).toBeLessThan(2e-3);
    for (const value of [0, 1e-40]) {
      const flat = { ...test, x: new Float32Array(16 * 1024).fill(value) };
      expect((await product("relaxed", flat)).every((y) => y === 0)).toBe(true);
      expect(await product("relaxed", flat)).toEqual(await product("twin", flat));
    }
  });

  it("sums the largest possible values without leaving 16 bits", async () => {
    // All signs agree with the inputs: every block's sum is its bound.
    for (const one of [1, 0]) {
      const test = { ...makeCase(300, 256, 16, SEED), full: false };
      const { words } = operands(test);
      const row = one * 7;
      const x = Float32Array.from({ length: 16 * 256 }, (_, i) => {
        const c = i % 256;
        const sign = (words[row * 8 + (c >> 5)] >>> (c & 31)) & 1 ? -1 : 1;
        return one ? sign : sign * (c === 40 ? 1000 : 1 / (1 + (c % 13)));
      });
      const full = { ...test, x };
      expect(signError(await product("relaxed", full), full)).toBeLessThan(SIGN_ERROR);
    }
  });
});
