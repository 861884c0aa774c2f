import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createSignMatrix,
  flipSigns,
  packSigns,
  paddingIsClear,
  signAt,
  transposeSigns,
  unpackSigns,
  wordsPerRow,
} from "./sign-matrix.js";

const size = fc.integer({ min: 1, max: 100 });
const matrices = fc
  .tuple(size, size)
  .chain(([rows, cols]) =>
    fc
      .array(fc.boolean(), { minLength: rows * cols, maxLength: rows * cols })
      .map((bits) => ({ rows, cols, values: Float32Array.from(bits, (bit) => (bit ? -1 : 1)) })),
  );

describe("sign matrices", () => {
  it("pack and unpack to the same signs at any size, padding +1", () => {
    fc.assert(
      fc.property(matrices, ({ rows, cols, values }) => {
        const packed = packSigns(values, rows, cols);
        expect(packed.words.length).toBe(rows * wordsPerRow(cols));
        expect(unpackSigns(packed)).toEqual(values);
        expect(paddingIsClear(packed)).toBe(true);
      }),
    );
  });

  it("transpose moves every sign, and twice is the same", () => {
    fc.assert(
      fc.property(matrices, ({ rows, cols, values }) => {
        const packed = packSigns(values, rows, cols);
        const transposed = transposeSigns(packed);
        for (let row = 0; row < rows; row++) {
          for (let col = 0; col < cols; col++) {
            if (signAt(transposed, col, row) !== values[row * cols + col]) throw new Error(`${row},${col}`);
          }
        }
        expect(paddingIsClear(transposed)).toBe(true);
        expect(transposeSigns(transposed).words).toEqual(packed.words);
      }),
    );
  });

  it("put the first column in the least significant bit, -1 as 1, and give zero the sign +1", () => {
    const packed = packSigns([-1, 0, -0, NaN, -2, ...new Array<number>(28).fill(3), -1], 1, 34);
    expect([...packed.words]).toEqual([0b10001, 0b10]);
  });

  it("flip rows and columns without touching the padding", () => {
    fc.assert(
      fc.property(matrices, fc.infiniteStream(fc.boolean()), ({ rows, cols, values }, flips) => {
        const take = (count: number) => Array.from({ length: count }, () => flips.next().value as boolean);
        const rowFlips = take(rows);
        const colFlips = take(cols);
        const packed = packSigns(values, rows, cols);
        flipSigns(packed, { rowFlips, colFlips });
        const expected = values.map(
          (value, i) => value * (rowFlips[Math.floor(i / cols)] ? -1 : 1) * (colFlips[i % cols] ? -1 : 1),
        );
        expect(unpackSigns(packed)).toEqual(expected);
        expect(paddingIsClear(packed)).toBe(true);
      }),
    );
  });

  it("notice a damaged padding bit", () => {
    const matrix = createSignMatrix(3, 5);
    matrix.words[1] = 1 << 5;
    expect(paddingIsClear(matrix)).toBe(false);
  });
});
