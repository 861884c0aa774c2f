import { describe, expect, it } from "vitest";
import { f16ToF32, f32ToF16 } from "../tensors/half.js";
import { denseFromF32, denseRow, denseValues } from "./dense-linear.js";
import { balanceScales, canonicalisePath, factoredForward, reconstruct } from "./factored-linear.js";
import { quantiseRows } from "./quantise-rows.js";
import { roundScales, storedForm } from "./round-scales.js";
import { packSigns } from "./sign-matrix.js";
import type { FactoredLinear, FactoredPath } from "./types.js";

/** Fresh each run; printed by a failing assertion through the values themselves. */
const random = (length: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, () => scale * (Math.random() * 2 - 1));

interface Options {
  envelope?: number;
  midIn?: boolean;
  midOut?: boolean;
  scale?: number;
}

function randomPath(rows: number, cols: number, rank: number, options: Options = {}): FactoredPath {
  const { envelope = 1, midIn = true, midOut = false, scale = 1 } = options;
  return {
    rank,
    envelope,
    outSigns: packSigns(random(rows * rank), rows, rank),
    inSigns: packSigns(random(rank * cols), rank, cols),
    outScales: random(envelope * rows, scale),
    inScales: random(envelope * cols, 1 / scale),
    ...(midIn && { midIn: random(envelope * rank) }),
    ...(midOut && { midOut: random(envelope * rank) }),
  };
}

function linearOf(rows: number, cols: number, paths: FactoredPath[], bias?: Float32Array): FactoredLinear {
  return { kind: "factored", rows, cols, paths, ...(bias && { bias }) };
}

const SHAPES: readonly [string, FactoredLinear][] = [
  ["DBF", linearOf(37, 70, [randomPath(37, 70, 33)], random(37))],
  ["NanoQuant", linearOf(5, 64, [randomPath(5, 64, 7, { midIn: false })])],
  ["LittleBit, two paths", linearOf(40, 31, [randomPath(40, 31, 12), randomPath(40, 31, 12)])],
  ["MDBF, l = 3", linearOf(33, 65, [randomPath(33, 65, 9, { envelope: 3, midOut: true })])],
  ["MDBF without middle scales", linearOf(8, 9, [randomPath(8, 9, 4, { envelope: 2, midIn: false })])],
  ["two paths of different rank", linearOf(20, 33, [randomPath(20, 33, 40), randomPath(20, 33, 3)])],
  ["one by one", linearOf(1, 1, [randomPath(1, 1, 1)])],
];

/** f32 outputs of double-precision sums over a few thousand terms of size one. */
const FORWARD_TOLERANCE = 1e-4;

function expectClose(got: Float32Array, want: Float32Array, tolerance: number): void {
  expect(got.length).toBe(want.length);
  const worst = got.reduce((max, value, i) => Math.max(max, Math.abs(value - want[i])), 0);
  expect(worst).toBeLessThanOrEqual(tolerance);
}

describe("factored linears", () => {
  it.each(SHAPES)("%s: the 2l products give the same as the reconstructed matrix", (_, linear) => {
    const dense = reconstruct(linear);
    const x = random(linear.cols);
    const want = Float32Array.from({ length: linear.rows }, (_, row) => {
      let sum = linear.bias?.[row] ?? 0;
      for (let col = 0; col < linear.cols; col++) sum += dense[row * linear.cols + col] * x[col];
      return sum;
    });
    expectClose(factoredForward(linear, x), want, FORWARD_TOLERANCE);
  });

  it("reconstructs the hand-worked 2 x 2 of rank 1", () => {
    const path: FactoredPath = {
      rank: 1,
      envelope: 1,
      outSigns: packSigns([1, -1], 2, 1),
      inSigns: packSigns([1, -1], 1, 2),
      outScales: Float32Array.of(2, 3),
      midIn: Float32Array.of(0.5),
      inScales: Float32Array.of(5, 7),
    };
    expect([...reconstruct(linearOf(2, 2, [path]))]).toEqual([5, -7, -7.5, 10.5]);
  });

  it.each(SHAPES)("%s: balancing moves only powers of two and changes no value", (_, linear) => {
    const balanced = { ...linear, paths: linear.paths.map(balanceScales) };
    expect(reconstruct(balanced)).toEqual(reconstruct(linear));
    expect(balanced.paths.map(balanceScales)).toEqual(balanced.paths);
  });

  it.each(SHAPES)("%s: the canonical form computes the same", (_, linear) => {
    const canonical = { ...linear, paths: linear.paths.map(canonicalisePath) };
    expectClose(reconstruct(canonical), reconstruct(linear), 1e-6);
  });

  it("the canonical form is the same for all members of the gauge orbit", () => {
    const path = randomPath(6, 7, 3);
    const flipped: FactoredPath = {
      ...path,
      outScales: path.outScales.map((scale) => -scale),
      midIn: path.midIn!.map((scale) => -scale),
    };
    expect(canonicalisePath(flipped)).toEqual(canonicalisePath(path));
    const termFlipped: FactoredPath = {
      ...path,
      outSigns: packSigns(
        Float32Array.from(
          { length: 18 },
          (_, i) => -1 + 2 * ((path.outSigns.words[Math.floor(i / 3)] >>> (i % 3)) & 1),
        ),
        6,
        3,
      ),
      midIn: path.midIn!.map((scale) => -scale),
    };
    expect(canonicalisePath(termFlipped)).toEqual(canonicalisePath(path));
  });

  it("scales that lie far apart survive 16 bits after balancing, and would not before", () => {
    const path = randomPath(40, 50, 20, { scale: 1e7 });
    expect(() => roundScales(path)).toThrow(/16 bits cannot hold/);
    const linear = linearOf(40, 50, [path]);
    const stored = storedForm(linear);
    const want = reconstruct(linear);
    const size = Math.sqrt(want.reduce((sum, value) => sum + value * value, 0) / want.length);
    // Three roundings of relative 2^-11 on every rank-1 term.
    expectClose(reconstruct(stored), want, size * 3 * 2 ** -11 * 8);
    expect(roundScales(stored.paths[0])).toEqual(stored.paths[0]);
  });
});

describe("the stored form", () => {
  it.each(
    SHAPES.flatMap(([name, linear]) => ([16, 8] as const).map((bits) => [name, bits, linear] as const)),
  )("%s, %i-bit scales: comes back unchanged, and is canonical", (_, scaleBits, linear) => {
    const stored = storedForm({ ...linear, scaleBits });
    expect(stored.scaleBits).toBe(scaleBits);
    expect(storedForm(stored)).toEqual(stored);
    expect(stored.paths.map(canonicalisePath)).toEqual(stored.paths);
    expect(stored.paths.map((path) => roundScales(path, scaleBits))).toEqual(stored.paths);
  });

  it("of 8 bits is near the linear: half a code of each vector, uncorrelated", () => {
    const linear = linearOf(150, 130, [randomPath(150, 130, 60), randomPath(150, 130, 30)]);
    const want = reconstruct(linear);
    const norm = (values: Float32Array): number =>
      Math.sqrt(values.reduce((sum, each) => sum + each * each, 0));
    const error = (scaleBits: 16 | 8): number =>
      norm(reconstruct(storedForm({ ...linear, scaleBits })).map((value, i) => value - want[i])) / norm(want);
    // Three vectors whose logarithms are off by up to half of ln(2) / 32, evenly: sqrt(3) * ln(2) / 32 / sqrt(12).
    const expected = (Math.sqrt(3) * Math.LN2) / 32 / Math.sqrt(12);
    expect(error(8)).toBeLessThan(1.5 * expected);
    expect(error(8)).toBeGreaterThan(expected / 1.5);
    expect(error(16)).toBeLessThan(2 ** -10);
  });

  it("of 8 bits survives scales that lie far apart", () => {
    const linear = linearOf(40, 50, [randomPath(40, 50, 20, { scale: 1e7 })]);
    const stored = storedForm({ ...linear, scaleBits: 8 });
    expect(storedForm(stored)).toEqual(stored);
    expect(reconstruct(stored).every(Number.isFinite)).toBe(true);
  });
});

describe("dense linears", () => {
  const rows = 9;
  const cols = 33;
  const values = random(rows * cols);

  it("widen rows of every float storage as the file's value says", () => {
    const half = f32ToF16(values);
    const linear = { kind: "dense", rows, cols, storage: { dtype: "f16", values: half } } as const;
    expect(denseRow(linear, 4)).toEqual(f16ToF32(half).subarray(4 * cols, 5 * cols));
    expect(denseValues(linear)).toEqual(f16ToF32(half));
    expect(denseValues(denseFromF32(values, rows, cols))).toBe(values);
    expect(() => denseRow(linear, rows)).toThrow(/9 rows/);
  });

  it("8 bits lose at most half a step of the row's largest value, and rows agree with the whole", () => {
    const quantised = quantiseRows(denseFromF32(values, rows, cols), 8);
    const back = denseValues(quantised);
    for (let row = 0; row < rows; row++) {
      const part = values.subarray(row * cols, (row + 1) * cols);
      const largest = part.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      // Half a step of absmax / 127; clipping may cost single values more, but never the sum of squares.
      const allowed = cols * (largest / 127 / 2) ** 2 * 1.01;
      let error = 0;
      for (let col = 0; col < cols; col++) error += (back[row * cols + col] - part[col]) ** 2;
      expect(error).toBeLessThanOrEqual(allowed);
      expect(denseRow(quantised, row)).toEqual(back.subarray(row * cols, (row + 1) * cols));
    }
  });

  it("4 bits beat the plain largest-value scale on bell-shaped rows", () => {
    const bell = Float32Array.from({ length: 64 * 256 }, () =>
      random(6).reduce((sum, value) => sum + value, 0),
    );
    const back = denseValues(quantiseRows(denseFromF32(bell, 64, 256), 4));
    let error = 0;
    let plain = 0;
    for (let row = 0; row < 64; row++) {
      const part = bell.subarray(row * 256, (row + 1) * 256);
      const step = part.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / 7;
      part.forEach((value, col) => {
        error += (value - back[row * 256 + col]) ** 2;
        plain += (value - Math.round(value / step) * step) ** 2;
      });
    }
    expect(error).toBeLessThan(0.9 * plain);
  });

  it.each([8, 4] as const)("%s bits hold zero rows, tiny rows and one-sided rows", (bits) => {
    const odd = Float32Array.of(0, 0, 0, 1e-7, -2e-7, 3e-7, 5, 5, 5, -1e30, 1e29, 0);
    const back = denseValues(quantiseRows(denseFromF32(odd, 4, 3), bits));
    expect([...back.subarray(0, 3)]).toEqual([0, 0, 0]);
    odd.forEach((value, i) => {
      const row = odd.subarray(3 * Math.floor(i / 3), 3 * Math.floor(i / 3) + 3);
      const largest = row.reduce((max, each) => Math.max(max, Math.abs(each)), 0);
      expect(Math.abs(value - back[i])).toBeLessThanOrEqual(largest / (bits === 8 ? 120 : 7));
    });
    expect(() => quantiseRows(denseFromF32(Float32Array.of(NaN, Infinity), 1, 2), bits)).toThrow(
      /not finite/,
    );
  });
});
