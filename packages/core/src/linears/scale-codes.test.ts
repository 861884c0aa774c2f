import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { f16BitsToF32 } from "../tensors/half.js";
import { decodeScales, encodeScales, roundToCodes, scaleLevels } from "./scale-codes.js";

/** Half a code of 32 (16, signed) to a factor of two, and the rounding of the base to 11 bits. */
const RELATIVE_ERROR = { unsigned: 2 ** (1 / 64) - 1 + 2 ** -11, signed: 2 ** (1 / 32) - 1 + 2 ** -11 };

/** Magnitudes from the smallest to the largest of 16 bits, so that every vector can be stored. */
const magnitude = fc.oneof(
  fc.double({ min: -24, max: 15.9, noNaN: true }).map((exponent) => Math.fround(2 ** exponent)),
  fc.constant(0),
  fc.integer({ min: 0, max: 0x7bff }).map(f16BitsToF32),
);
const vectorsOf = (signed: boolean) =>
  fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 40 })).chain(([vectors, length]) =>
    fc
      .array(fc.tuple(magnitude, fc.boolean()), { minLength: vectors * length, maxLength: vectors * length })
      .map((values) => ({
        vectors,
        length,
        scales: Float32Array.from(values, ([size, negative]) => (signed && negative ? -size : size)),
      })),
  );

describe("scales of 8 bits", () => {
  it("have the levels of the format", () => {
    const unsigned = scaleLevels(false);
    const signed = scaleLevels(true);
    expect([unsigned[0], unsigned[32], unsigned[224], unsigned[255]]).toEqual([1, 0.5, 2 ** -7, 0]);
    expect([signed[0], signed[16], signed[0x80 | 32], signed[127], signed[255]]).toEqual([
      1, 0.5, -0.25, 0, 0,
    ]);
    for (let code = 0; code < 255; code++) expect(unsigned[code]).toBe(Math.fround(2 ** (-code / 32)));
    for (let code = 0; code < 127; code++) {
      expect(signed[code]).toBe(Math.fround(2 ** (-code / 16)));
      expect(signed[code | 0x80]).toBe(-signed[code]);
    }
  });

  it("encode a vector worked by hand", () => {
    const { codes, bases } = encodeScales(Float32Array.of(4, 2, 0, 1, 1e-9), 1, false);
    expect([...codes]).toEqual([0, 32, 255, 64, 254]);
    expect([...bases]).toEqual([4]);
    const signed = encodeScales(Float32Array.of(-4, 2, 0, 1, -1e-9, 0, 0, -0, 0, 0), 2, true);
    expect([...signed.codes]).toEqual([128, 16, 127, 32, 254, 127, 127, 127, 127, 127]);
    expect([...signed.bases]).toEqual([4, 0]);
  });

  it.each([false, true])("keep the relative error, zeros and signs (signed: %s)", (signed) => {
    const allowed = signed ? RELATIVE_ERROR.signed : RELATIVE_ERROR.unsigned;
    fc.assert(
      fc.property(vectorsOf(signed), ({ scales, vectors, length }) => {
        const rounded = roundToCodes(scales, vectors, signed);
        for (let i = 0; i < scales.length; i++) {
          const vector = scales.subarray(i - (i % length), i - (i % length) + length);
          const largest = vector.reduce((max, scale) => Math.max(max, Math.abs(scale)), 0);
          expect(Math.sign(rounded[i]) === Math.sign(scales[i])).toBe(true);
          expect(Object.is(rounded[i], -0)).toBe(false);
          // Below 2^-7.8 of the largest there is one level for all; subnormal bases are rounded coarsely.
          if (Math.abs(scales[i]) < largest * 2 ** -7.8 || largest < 2 ** -14) continue;
          expect(Math.abs(rounded[i] - scales[i])).toBeLessThanOrEqual(allowed * Math.abs(scales[i]));
        }
      }),
    );
  });

  it.each([false, true])("round twice as once, to the bit (signed: %s)", (signed) => {
    fc.assert(
      fc.property(vectorsOf(signed), ({ scales, vectors }) => {
        const stored = encodeScales(scales, vectors, signed);
        const once = decodeScales(stored, signed);
        expect(encodeScales(once, vectors, signed)).toEqual(stored);
        expect(roundToCodes(once, vectors, signed)).toEqual(once);
      }),
    );
  });

  it("are the f32 product of base and level", () => {
    const { codes, bases } = encodeScales(Float32Array.of(3.7, 1.1, 0.06), 1, false);
    const product = Float32Array.from(codes, (code) => Math.fround(bases[0] * scaleLevels(false)[code]));
    expect(decodeScales({ codes, bases }, false)).toEqual(product);
  });

  it("refuse what they cannot hold", () => {
    for (const bad of [NaN, Infinity, 7e4])
      expect(() => encodeScales(Float32Array.of(1, bad), 1, true)).toThrow(/16 bits cannot hold/);
    expect(() => encodeScales(Float32Array.of(1, -1), 1, false)).toThrow(/canonical form/);
  });
});
