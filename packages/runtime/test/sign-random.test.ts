/** Every sign kernel, on random shapes with random company, against its twin. `SUBBIT_SLOW_TESTS=1` for a thousand of them. */
import { describe, expect, it } from "vitest";
import {
  I_ACTIVATION,
  I_EPS,
  I_FEATURES,
  I_FUNCTION,
  I_KIND,
  I_OTHER,
  I_PLAIN,
  I_RMS,
  INSTRUCTION_WORDS,
  LUT12,
  LUT16,
  LUT8,
  OP_SIGN_MULTIPLY,
  OP_SIGN_PRODUCT,
  OP_SIGN_TABLES,
  SHARE_UNITS,
  SIGN_BLOCK,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_IN_SCALE,
  S_PRECISION,
  S_RESIDUAL,
  S_ROWS,
  S_SCALE,
  S_SHARE,
  S_TERMS,
  S_TERM_BYTES,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  T_COLS,
  T_ROTATE,
  T_SCALE,
  T_TERMS,
  T_TERM_BYTES,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../src/abi.js";
import { packedSignBytes } from "../src/weights/pack-signs.js";
import { Bench, gaussian, generator, pad, type Backend } from "./kernel-harness.js";

const CASES = process.env.SUBBIT_SLOW_TESTS === "1" ? 1000 : 40;
const SEED = Date.now() & 0xffff;
const BACKENDS: readonly Backend[] = ["baseline", "relaxed", "baseline, unshared", "relaxed, unshared"];
/** Relative error on gaussian inputs that each precision promises (12 bits: 5.7e-4 measured, 8: 8e-3, 16: 6e-5). */
const PROMISED_ERROR = { [LUT8]: 1e-2, [LUT12]: 1e-3, [LUT16]: 1e-4 };

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: number;
  readonly threads: number;
  readonly precision: typeof LUT8 | typeof LUT12 | typeof LUT16;
  readonly kind: number;
  readonly activation: number;
  /** Tables and product in one instruction. */
  readonly together: boolean;
  readonly scaled: boolean;
  readonly partner: boolean;
  readonly accumulate: boolean;
  readonly bias: boolean;
  readonly residual: boolean;
  readonly share: number;
  readonly terms: number;
  readonly seed: number;
}

function randomCase(seed: number): Case {
  const next = generator(seed);
  const below = (n: number): number => Math.floor(next() * n);
  const size = (most: number): number => [1, 1 + below(40), 1 + below(most)][below(3)];
  const ends = [below(SHARE_UNITS), below(SHARE_UNITS)].sort((a, b) => a - b);
  return {
    rows: size(150),
    cols: size(1300),
    tokens: 1 + below(3),
    threads: 1 + below(4),
    precision: ([LUT8, LUT12, LUT16] as const)[below(3)],
    kind: [I_PLAIN, I_RMS, I_ACTIVATION][below(3)],
    activation: below(4),
    together: next() < 0.6,
    scaled: next() < 0.7,
    partner: next() < 0.7,
    accumulate: next() < 0.4,
    bias: next() < 0.4,
    residual: next() < 0.4,
    terms: next() < 0.6 ? 1 : 2 + below(4),
    share: next() < 0.5 ? 0 : ends[0] * 65536 + ends[1] + 1,
    seed,
  };
}

function words(entries: Readonly<Record<number, number>>): number[] {
  return Array.from({ length: INSTRUCTION_WORDS }, (_, i) => entries[i] ?? 0);
}

async function product(backend: Backend, test: Case): Promise<Float32Array> {
  const { rows, cols, tokens, seed, terms } = test;
  const bench = new Bench(backend, tokens);
  const [rowsPad, colsPad, stride] = [pad(rows, 16), pad(cols, 32), pad(rows, 32)];
  const next = generator(seed);
  const packed = Uint8Array.from({ length: packedSignBytes(rows, cols) }, () => next() * 256);
  const put = (wanted: boolean, count: number, features: number, width: number, salt: number): number =>
    wanted ? bench.putRows(gaussian(count * features, seed + salt), features, width) : 0;
  const src = put(true, tokens, cols, colsPad, 1);
  const scale = put(test.scaled, terms, cols, colsPad, 2);
  const termBytes = pad(colsPad * TABLE_BYTES_PER_INPUT + Math.ceil(colsPad / SIGN_BLOCK) * 4, 64);
  const other =
    test.kind === I_RMS
      ? put(true, 1, cols, colsPad, 3)
      : put(test.kind === I_ACTIVATION && test.partner, tokens, cols, colsPad, 3);
  const dst = put(true, tokens, rows, stride, 4);
  const input = {
    [S_PRECISION]: test.precision,
    [I_KIND]: test.kind,
    [I_OTHER]: other,
    [I_FEATURES]: cols,
    [I_FUNCTION]: test.activation,
  };
  const output = {
    [W_DST]: dst,
    [W_DST_STRIDE]: stride,
    [S_WEIGHTS]: bench.put(packed),
    [S_ROWS]: rowsPad,
    [S_COLS]: colsPad,
    [S_SCALE]: put(true, terms, rows, stride, 5),
    [S_TERMS]: terms,
    [S_TERM_BYTES]: termBytes,
    [S_BIAS]: put(test.bias, 1, rows, rowsPad, 6),
    [S_RESIDUAL]: put(test.residual, tokens, rows, stride, 7),
    [S_ACCUMULATE]: test.accumulate ? 1 : 0,
    [S_PRECISION]: test.precision,
    [S_SHARE]: test.share,
  };
  const eps = { [I_EPS]: 1e-5 };
  if (test.together) {
    const source = { [W_SRC]: src, [W_SRC_STRIDE]: colsPad, [S_IN_SCALE]: scale };
    bench.emit(words({ 0: OP_SIGN_MULTIPLY, ...input, ...output, ...source }), eps);
    await bench.run(test.threads);
  } else {
    const bytes = terms * termBytes;
    const tables = bench.room(tokens * bytes);
    const source = { [W_SRC]: src, [W_SRC_STRIDE]: colsPad, [T_COLS]: colsPad, [T_SCALE]: scale };
    const several = { [T_TERMS]: terms, [T_TERM_BYTES]: termBytes };
    const target = { [W_DST]: tables, [W_DST_STRIDE]: bytes, [T_ROTATE]: seed & 7, ...several };
    bench.emit(words({ 0: OP_SIGN_TABLES, ...input, ...source, ...target }), eps);
    await bench.run(test.threads);
    bench.emit(words({ 0: OP_SIGN_PRODUCT, ...output, [W_SRC]: tables, [W_SRC_STRIDE]: bytes }));
    await bench.run(test.threads);
  }
  return bench.read(dst, tokens * stride);
}

describe(`sign products of ${CASES} random shapes, seed ${SEED}`, () => {
  it("are their twin's bit for bit, in every build and cut for any number of threads", async () => {
    for (let i = 0; i < CASES; i++) {
      const test = randomCase(SEED * 1000 + i);
      const twin = await product("twin", test);
      for (const backend of BACKENDS) {
        const got = await product(backend, test);
        expect(got, `${backend} ${JSON.stringify(test)}`).toEqual(twin);
      }
    }
  });

  it.each([LUT8, LUT12, LUT16] as const)("precision %i keeps its promise", async (precision) => {
    const plain = {
      kind: I_PLAIN,
      activation: 0,
      scaled: false,
      partner: false,
      share: 0,
      terms: 1,
      threads: 1,
    };
    const sums = { accumulate: false, bias: false, residual: false, together: true };
    const test = { rows: 256, cols: 1024, tokens: 2, precision, seed: SEED, ...plain, ...sums };
    const finest = await product("relaxed", { ...test, precision: LUT16 });
    const got = await product("relaxed", test);
    const exact = exactProduct(test);
    const error = (values: Float32Array): number =>
      Math.sqrt(
        values.reduce((sum, v, j) => sum + (v - exact[j]) ** 2, 0) / exact.reduce((sum, v) => sum + v * v, 0),
      );
    expect(error(got)).toBeLessThan(PROMISED_ERROR[precision]);
    expect(error(finest)).toBeLessThanOrEqual(error(got));
  });
});

/** scale o (S x) in double precision, from the packed codes: entry 8 + i is minus entry i. */
function exactProduct({ rows, cols, tokens, seed }: Case): Float64Array {
  const next = generator(seed);
  const packed = Uint8Array.from({ length: packedSignBytes(rows, cols) }, () => next() * 256);
  const [x, scale] = [gaussian(tokens * cols, seed + 1), gaussian(rows, seed + 5)];
  const y = new Float64Array(tokens * rows);
  for (let t = 0; t < tokens; t++) {
    for (let r = 0; r < rows; r++) {
      const lane = r % 16 < 8 ? 2 * (r % 16) : 2 * ((r % 16) - 8) + 1;
      for (let c = 0; c < cols; c++) {
        const [chunk, group, bit] = [c >> 5, c & 7, (c >> 3) & 3];
        const at = Math.floor(r / 16) * cols * 2 + chunk * 64 + (group >> 1) * 16 + lane;
        const code = (packed[at] >> ((group & 1) * 4)) & 15;
        const minus = ((code >> bit) & 1) ^ (code >> 3 && bit !== 3 ? 1 : 0);
        y[t * rows + r] += (minus ? -1 : 1) * x[t * cols + c];
      }
      y[t * rows + r] *= scale[r];
    }
  }
  return y;
}
