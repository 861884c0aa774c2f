/** Loading kernels against their twins: stored signs, floats and rows become weights, at any alignment and cut into parts. */
import { bf16ToF32, decodeScales, f16ToF32, f32ToF16, scaleLevels, transposeSigns } from "@subbit/core";
import { describe, expect, it } from "vitest";
import {
  CTRL_END,
  DTYPE_BF16,
  DTYPE_F16,
  DTYPE_F32,
  L_DAMAGED,
  OP_COPY_ROWS,
  OP_LEVELS,
  OP_PACK_SIGNS,
  OP_SHIFT,
  OP_TIMES_BASE,
  OP_WIDEN,
} from "../src/abi.js";
import { packSigns, packedSignBytes } from "../src/weights/pack-signs.js";
import { ALL_BACKENDS, Bench, generator, type Backend } from "./kernel-harness.js";

const SEED = Date.now() & 0xffff;
const SHAPES = [
  [1, 1],
  [16, 32],
  [17, 33],
  [31, 15],
  [33, 16],
  [100, 700],
  [152, 384],
] as const;

function randomBytes(count: number, seed: number): Uint8Array {
  const next = generator(seed);
  return Uint8Array.from({ length: count }, () => next() * 256);
}

/** Signs as stored, [rows, cols], padding clear. */
function storedSigns(rows: number, cols: number, seed: number) {
  const stride = Math.ceil(cols / 32);
  const words = new Uint32Array(randomBytes(rows * stride * 4, seed).buffer);
  if (cols % 32 !== 0) for (let r = 1; r <= rows; r++) words[r * stride - 1] &= (1 << (cols % 32)) - 1;
  return { rows, cols, words };
}

/** Runs the instruction, whose dst is `bytes` of room, on stored bytes that begin `skew` bytes after an aligned address. */
async function load(
  backend: Backend,
  stored: Uint8Array,
  skew: number,
  bytes: number,
  emit: (bench: Bench, src: number, dst: number) => void,
) {
  const bench = new Bench(backend, 1);
  const skewed = new Uint8Array(stored.length + skew);
  skewed.set(stored, skew);
  const src = bench.put(skewed) + skew;
  const dst = bench.room(bytes);
  emit(bench, src, dst);
  await bench.run();
  const damaged = bench.views.u32[(CTRL_END >> 2) + L_DAMAGED];
  return { out: bench.views.u8.slice(dst, dst + bytes), damaged };
}

describe(`loading kernels, seed ${SEED}`, () => {
  it.each(SHAPES)(
    "signs stored as %i x %i, and as the columns of the matrix, in parts",
    async (rows, cols) => {
      const signs = storedSigns(rows, cols, SEED + rows);
      for (const transposed of [false, true]) {
        const matrix = transposed ? transposeSigns(signs) : signs;
        const want = new Uint8Array(packedSignBytes(matrix.rows, matrix.cols));
        packSigns(matrix, want);
        const tileBytes = Math.ceil(matrix.cols / 32) * 64;
        const rowBytes = Math.ceil(cols / 32) * 4;
        for (const backend of ALL_BACKENDS) {
          for (const skew of [0, 3]) {
            const emit = (bench: Bench, src: number, dst: number): void => {
              for (let first = 0; first < rows; first += 32) {
                const to = dst + (transposed ? (first / 32) * 64 : (first / 16) * tileBytes);
                const count = Math.min(32, rows - first);
                const at = src + first * rowBytes;
                bench.emit([OP_PACK_SIGNS, at, 0, to, 0, count, cols, transposed ? 1 : 0, tileBytes]);
              }
            };
            const stored = new Uint8Array(signs.words.buffer);
            const { out, damaged } = await load(backend, stored, skew, want.length, emit);
            expect(out, `${backend}, transposed ${transposed}`).toEqual(want);
            expect(damaged).toBe(0);
          }
        }
      }
    },
  );

  it("finds set padding, in any row", async () => {
    const { words } = storedSigns(5, 40, SEED);
    for (const [row, bit] of [
      [0, 8],
      [2, 31],
      [4, 20],
    ]) {
      const wrong = words.slice();
      wrong[row * 2 + 1] |= 1 << bit;
      for (const backend of ALL_BACKENDS) {
        const { damaged } = await load(backend, new Uint8Array(wrong.buffer), 0, 128, (bench, src, dst) =>
          bench.emit([OP_PACK_SIGNS, src, 0, dst, 0, 5, 40, 0, 128]),
        );
        expect(damaged, backend).toBe(1);
      }
    }
  });

  it("widens every half-precision pattern exactly, and tells infinities", async () => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const finite = patterns.filter((bits) => (bits & 0x7c00) !== 0x7c00);
    const cases = [
      { dtype: DTYPE_F16, values: patterns, want: f16ToF32(patterns), damage: 1 },
      { dtype: DTYPE_F16, values: finite, want: f16ToF32(finite), damage: 0 },
      { dtype: DTYPE_BF16, values: patterns, want: bf16ToF32(patterns), damage: 1 },
      { dtype: DTYPE_F32, values: f16ToF32(patterns), want: f16ToF32(patterns), damage: 1 },
    ];
    for (const { dtype, values, want, damage } of cases) {
      for (const backend of ALL_BACKENDS) {
        const stored = new Uint8Array(values.buffer, 0, values.byteLength);
        const bytes = want.length * 4;
        const { out, damaged } = await load(backend, stored, 2, bytes, (bench, src, dst) =>
          bench.emit([OP_WIDEN, src, 0, dst, 0, want.length, dtype, 1]),
        );
        expect(out, backend).toEqual(new Uint8Array(want.buffer));
        expect(damaged).toBe(damage);
      }
    }
  });

  it.each([false, true])("makes scales of codes and their base, with signs: %s", async (signed) => {
    const codes = Uint8Array.from({ length: 300 }, (_, i) => i);
    for (const base of [0, 2 ** -24, 1.37]) {
      const bases = f16ToF32(f32ToF16(Float32Array.of(base)));
      const want = decodeScales({ codes, bases }, signed);
      for (const backend of ALL_BACKENDS) {
        const { out } = await load(backend, codes, 3, want.byteLength, (bench, src, dst) => {
          const levels = bench.put(scaleLevels(signed));
          bench.emit([OP_LEVELS, src, 0, dst, 0, codes.length, levels]);
          bench.emit([OP_TIMES_BASE, bench.put(bases), 0, dst, 0, codes.length]);
        });
        expect(out, backend).toEqual(new Uint8Array(want.buffer));
      }
    }
  });

  it.each([
    { rows: 5, from: 9, to: 16, fill: 0, upper: 0 },
    { rows: 3, from: 8, to: 8, fill: 0x88, upper: 0x80 },
    { rows: 70, from: 13, to: 24, fill: 0x88, upper: 0x80 },
  ])("copies rows: %j", async ({ rows, from, to, fill, upper }) => {
    const stored = randomBytes(rows * from, SEED);
    const want = new Uint8Array(rows * to).fill(fill);
    for (let r = 0; r < rows; r++) {
      want.set(stored.subarray(r * from, (r + 1) * from), r * to);
      if (upper !== 0) want[r * to + from - 1] = (stored[(r + 1) * from - 1] & 15) | upper;
    }
    for (const backend of ALL_BACKENDS) {
      const { out } = await load(backend, stored, 1, want.length, (bench, src, dst) =>
        bench.emit([OP_COPY_ROWS, src, 0, dst, 0, rows, from, to, fill, upper]),
      );
      expect(out, backend).toEqual(want);
    }
  });

  it.each([1, 3, 64, 101])("adds one number to %i floats", async (count) => {
    const values = Float32Array.from(randomBytes(count, SEED), (byte) => byte / 64 - 2);
    for (const backend of ALL_BACKENDS) {
      const bench = new Bench(backend, 1);
      const dst = bench.put(values);
      bench.emit([OP_SHIFT, 0, 0, dst, 0, count], { 6: 1 });
      await bench.run(backend.endsWith("twin") ? 1 : 2);
      expect(bench.read(dst, count)).toEqual(values.map((value) => value + 1));
    }
  });
});
