/** Bit orders of the official layouts, on random signs of odd sizes, against their definitions written out. */
import { expect, it, describe } from "vitest";
import fc from "fast-check";
import {
  flatBytesFromSigns,
  rowBytesFromSigns,
  signsFromFlatBytes,
  signsFromRowBytes,
  signsFromWords,
  wordsFromSigns,
} from "../../src/layouts/sign-bytes.js";
import { packSigns, unpackSigns } from "../../src/linears/sign-matrix.js";

/** A matrix of +1 and -1, [rows, cols], columns a multiple of `step`. */
const matrices = (step: number) =>
  fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 80 })).chain(([rows, steps]) => {
    const cols = step * steps;
    return fc
      .array(fc.constantFrom(1, -1), { minLength: rows * cols, maxLength: rows * cols })
      .map((signs) => ({ rows, cols, signs }));
  });

describe("signs in bytes", () => {
  it("flat, most significant bit first, a set bit +1, the tail set (DBF, MDBF)", () => {
    fc.assert(
      fc.property(matrices(1), ({ rows, cols, signs }) => {
        const want = Uint8Array.from({ length: Math.ceil(signs.length / 8) }, (_, byte) => {
          const bits = Array.from({ length: 8 }, (_, i) => ((signs[8 * byte + i] ?? 1) === 1 ? "1" : "0"));
          return parseInt(bits.join(""), 2);
        });
        const matrix = packSigns(signs, rows, cols);
        expect(flatBytesFromSigns(matrix)).toEqual(want);
        expect(signsFromFlatBytes(want, rows, cols)).toEqual(matrix);
      }),
    );
  });

  it("rows of whole bytes, least significant bit first, a clear bit +1 (OneBit)", () => {
    fc.assert(
      fc.property(matrices(8), ({ rows, cols, signs }) => {
        const want = Uint8Array.from({ length: signs.length / 8 }, (_, byte) => {
          const bits = Array.from({ length: 8 }, (_, i) => (signs[8 * byte + i] === 1 ? "0" : "1"));
          return parseInt(bits.reverse().join(""), 2);
        });
        const matrix = packSigns(signs, rows, cols);
        expect(rowBytesFromSigns(matrix)).toEqual(want);
        expect(signsFromRowBytes(want, rows, cols)).toEqual(matrix);
      }),
    );
  });

  it("rows of whole words, least significant bit first, a clear bit +1, padding clear (LittleBit, NanoQuant)", () => {
    fc.assert(
      fc.property(matrices(1), ({ rows, cols, signs }) => {
        const stride = Math.ceil(cols / 32);
        const want = new Int32Array(rows * stride);
        signs.forEach((sign, i) => {
          const [row, col] = [Math.floor(i / cols), i % cols];
          if (sign === -1) want[row * stride + Math.floor(col / 32)] |= 1 << (col % 32);
        });
        const bytes = new Uint8Array(want.buffer);
        const matrix = signsFromWords(bytes, rows, cols);
        expect([...unpackSigns(matrix)]).toEqual(signs);
        expect(wordsFromSigns(packSigns(signs, rows, cols))).toEqual(bytes);
      }),
    );
  });
});
