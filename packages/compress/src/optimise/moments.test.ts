import { describe, expect, it } from "vitest";
import { Random } from "../random.js";
import { CodedMoment, decodeMoment, encodeMoment, Scratch } from "./moments.js";

/** 3 bits of mantissa: neighbouring codes are at most an eighth apart; of the square of 4 bits, a sixteenth twice. */
const SIGNED_SPACING = 1 / 8;
const SQUARED_SPACING = (1 + 1 / 16) ** 2 - 1;
/** Codes reach 16 powers of two below the largest of a block (of the root, for squares). */
const SIGNED_SMALLEST = 2 ** -15;
const SQUARED_SMALLEST = 2 ** -30;
const BLOCK = 256;
/** f32 rounding of the block's largest. */
const ROUNDING = 1e-6;

/** Magnitudes over many powers of two. */
function spread(length: number, random: Random, signed: boolean): Float32Array {
  return Float32Array.from({ length }, () => {
    const magnitude = 10 ** (-6 * random.next());
    return signed && random.next() < 0.5 ? -magnitude : magnitude;
  });
}

function roundTrip(values: Float32Array, signed: boolean, seed: number): Float32Array {
  const codes = new Uint8Array(values.length);
  const largest = new Float32Array(Math.ceil(values.length / BLOCK));
  encodeMoment(values, signed, seed, codes, largest);
  const decoded = new Float32Array(values.length);
  decodeMoment(codes, largest, signed, decoded);
  return decoded;
}

describe.each([
  ["signed", true, SIGNED_SPACING, SIGNED_SMALLEST],
  ["squares", false, SQUARED_SPACING, SQUARED_SMALLEST],
] as const)("codes of %s", (_, signed, spacing, smallest) => {
  it("are off by at most a step of the codes or the smallest code, and keep signs and zeros", () => {
    const values = spread(1000, new Random(1), signed);
    values[3] = 0;
    const decoded = roundTrip(values, signed, 7);
    values.forEach((value, i) => {
      const begin = i - (i % BLOCK);
      const block = values.subarray(begin, begin + BLOCK);
      const most = block.reduce((largest, one) => Math.max(largest, Math.abs(one)), 0);
      const bound = (spacing + ROUNDING) * Math.abs(value) + smallest * most;
      expect(Math.abs(decoded[i] - value)).toBeLessThanOrEqual(bound);
      expect(decoded[i] * value).toBeGreaterThanOrEqual(0);
    });
    expect(decoded[3]).toBe(0);
  });

  it("keep the largest of each block, and whole blocks of zeros", () => {
    const values = spread(600, new Random(2), signed);
    values[300] = signed ? -5 : 5;
    values.fill(0, 512);
    const decoded = roundTrip(values, signed, 7);
    expect(Math.abs(decoded[300] / values[300] - 1)).toBeLessThan(ROUNDING);
    expect(decoded.subarray(512).every((value) => value === 0)).toBe(true);
  });

  it("are right on average, however small a change is", () => {
    // Rounding to the nearest would give one and the same code every time. Roots are right on average, not squares.
    const root = (value: number) => (signed ? value : Math.sqrt(value));
    const values = Float32Array.of(1, 0.3, 0.301, 1e-4, signed ? 2e-6 : 1e-11);
    const draws = 4000;
    const sums = new Float64Array(values.length);
    for (let seed = 0; seed < draws; seed++) {
      roundTrip(values, signed, Math.imul(seed, 0x9e3779b1)).forEach((value, i) => (sums[i] += root(value)));
    }
    values.forEach((value, i) => {
      // The standard deviation of one draw is at most half a step, or for those below the smallest code about itself
      // times the root of how many draws make one.
      const deviation = Math.max(spacing / 2, value < 1e-5 ? 3 : 0) / Math.sqrt(draws);
      expect(Math.abs(sums[i] / draws / root(value) - 1)).toBeLessThan(5 * deviation + ROUNDING);
    });
  });
});

it("a coded moment gives back what it was closed with, the same for the same step", () => {
  const make = () => new CodedMoment(300, { signed: true, scratch: new Scratch(), slot: 0, salt: 5 });
  const values = spread(300, new Random(3), true);
  const closed = (step: number) => {
    const moment = make();
    moment.open().set(values);
    moment.close(step);
    return moment.open().slice();
  };
  expect(closed(4)).toEqual(closed(4));
  expect(closed(4)).not.toEqual(closed(5));
  closed(4).forEach((value, i) => {
    const bound = (SIGNED_SPACING + ROUNDING) * Math.abs(values[i]) + SIGNED_SMALLEST;
    expect(Math.abs(value - values[i])).toBeLessThanOrEqual(bound);
  });
});
