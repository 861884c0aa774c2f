import { describe, expect, it } from "vitest";
import {
  bf16BitsToF32,
  bf16ToF32,
  f16BitsToF32,
  f16ToF32,
  f32ToBf16,
  f32ToBf16Bits,
  f32ToF16,
  f32ToF16Bits,
} from "../../src/tensors/half.js";
import { seededRandom } from "../shared-fixtures.js";

const ALL = Uint16Array.from({ length: 0x10000 }, (_, i) => i);

/** The nearest multiple, ties to the even one, in double arithmetic: exact for every f32 and unit used here. */
function nearestEven(value: number, unit: number): number {
  const quotient = value / unit;
  const floor = Math.floor(quotient);
  const rest = quotient - floor;
  return (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) * unit;
}

/** Rounding by the definition of the format: the value that the fast encoder's result must have. */
function rounded(value: number, mantissaBits: number, minExponent: number, largest: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  let exponent = minExponent;
  while (2 ** (exponent + 1) <= Math.abs(value)) exponent++;
  const near = nearestEven(Math.abs(value), 2 ** (exponent - mantissaBits));
  return Math.sign(value) * (near > largest ? Infinity : near);
}

/** f32 values of all magnitudes: random bits, and values on and around the ties of f16. */
function samples(seed: number, count: number): Float32Array {
  const random = seededRandom(seed);
  const bits = new Uint32Array(count);
  const values = new Float32Array(bits.buffer);
  for (let i = 0; i < count; i++) {
    bits[i] = Math.floor(random() * 2 ** 32);
    if (i % 3 === 1) values[i] = (random() - 0.5) * 2 ** Math.floor(random() * 45 - 28);
    // Half way between two f16 values, and one f32 step to either side.
    if (i % 3 === 2) values[i] = (f16BitsToF32(i % 0x7bff) + f16BitsToF32((i % 0x7bff) + 1)) / 2;
    if (i % 9 === 5) bits[i] += 1;
    if (i % 9 === 8) bits[i] -= 1;
  }
  return values;
}

describe("binary16", () => {
  it("decodes every pattern to the value of its definition", () => {
    const values = f16ToF32(ALL);
    for (let i = 0; i < 0x10000; i++) if (!Object.is(values[i], f16BitsToF32(i))) expect.fail(`pattern ${i}`);
  });

  it("keeps every pattern through f32 and back, signed zeros and NaN payloads included", () => {
    expect(f32ToF16(f16ToF32(ALL))).toEqual(ALL);
  });

  it("rounds to the nearest, ties to even", () => {
    const values = samples(1, 300_000);
    const back = f16ToF32(f32ToF16(values));
    for (let i = 0; i < values.length; i++) {
      const want = rounded(values[i], 10, -14, 65504);
      if (!Object.is(back[i], want)) expect.fail(`${values[i]} became ${back[i]}, nearest is ${want}`);
    }
  });

  it("has the published corner values", () => {
    expect(
      [0, -0, 1, -2, 65504, 65519.99, 65520, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, Infinity, NaN].map(
        f32ToF16Bits,
      ),
    ).toEqual([0, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 1, 0, 1, 0x7c00, 0x7e00]);
  });

  it("writes into the given array and reads from a window of a buffer", () => {
    const window = new Uint16Array([0, 0x3c00, 0x4000]).subarray(1);
    const out = new Float32Array(3);
    f16ToF32(window, out.subarray(1));
    expect([...out]).toEqual([0, 1, 2]);
  });
});

describe("bfloat16", () => {
  it("decodes to the upper half of an f32 and keeps every pattern that is not a signalling NaN", () => {
    const back = f32ToBf16(bf16ToF32(ALL));
    for (let i = 0; i < 0x10000; i++) {
      const signalling = (i & 0x7f80) === 0x7f80 && (i & 0x7f) !== 0 && (i & 0x40) === 0;
      if (back[i] !== (signalling ? i | 0x40 : i)) expect.fail(`pattern ${i}`);
    }
    expect([0x3f80, 0xc000, 0x0001].map(bf16BitsToF32)).toEqual([1, -2, 2 ** -133]);
  });

  it("rounds to the nearest, ties to even", () => {
    const values = samples(2, 60_000);
    const back = bf16ToF32(f32ToBf16(values));
    const largest = bf16BitsToF32(0x7f7f);
    for (let i = 0; i < values.length; i++) {
      const want = rounded(values[i], 7, -126, largest);
      if (!Object.is(back[i], want)) expect.fail(`${values[i]} became ${back[i]}, nearest is ${want}`);
    }
    expect(f32ToBf16Bits(1 + 2 ** -8)).toBe(0x3f80);
    expect(f32ToBf16Bits(1 + 3 * 2 ** -8)).toBe(0x3f82);
  });
});
