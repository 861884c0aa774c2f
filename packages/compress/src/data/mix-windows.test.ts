import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mixWindows, type MixPart } from "./mix-windows.js";

const SEQLEN = 4;
/** A text whose ids say which part and place they are from. */
const part = (index: number, windows: number, weight?: number): MixPart => ({
  name: `text ${index}`,
  ids: Int32Array.from({ length: windows * SEQLEN + (index % SEQLEN) }, (_, i) => index * 100_000 + i),
  ...(weight !== undefined && { weight }),
});

/** First id of every window, in order. */
const firsts = (ids: Int32Array): number[] =>
  Array.from({ length: ids.length / SEQLEN }, (_, i) => ids[i * SEQLEN]);

const parts = fc.array(
  fc.record({
    windows: fc.integer({ min: 1, max: 40 }),
    weight: fc.double({ min: 0.01, max: 100, noNaN: true }),
  }),
  { minLength: 1, maxLength: 5 },
);

describe("mixWindows", () => {
  it("gives each text its share, whole windows, and no window a second time before all were used", () => {
    fc.assert(
      fc.property(parts, fc.integer({ min: 1, max: 300 }), fc.nat(2 ** 32 - 1), (given, count, seed) => {
        const texts = given.map(({ windows, weight }, i) => part(i, windows, weight));
        const mixed = mixWindows(texts, { seqlen: SEQLEN, tokens: count * SEQLEN + 3, seed });
        expect(mixed.count).toBe(count);
        const total = given.reduce((sum, { weight }) => sum + weight, 0);
        // Whole windows of one text: aligned, and counting up.
        const expected = firsts(mixed.ids).flatMap((first) => [first, first + 1, first + 2, first + 3]);
        expect([...mixed.ids]).toEqual(expected);
        expect(firsts(mixed.ids).every((first) => (first % 100_000) % SEQLEN === 0)).toBe(true);
        for (const [i, { windows, weight }] of given.entries()) {
          const used = firsts(mixed.ids).filter((first) => Math.floor(first / 100_000) === i);
          expect(mixed.parts[i]).toEqual({ name: `text ${i}`, available: windows, windows: used.length });
          // Largest remainders: within one window of the exact share.
          expect(Math.abs(used.length - (count * weight) / total)).toBeLessThan(1 + 1e-9);
          for (let from = 0; from < used.length; from += windows) {
            const pass = used.slice(from, from + windows);
            expect(new Set(pass).size).toBe(pass.length);
          }
        }
        expect(mixWindows(texts, { seqlen: SEQLEN, tokens: count * SEQLEN + 3, seed })).toEqual(mixed);
      }),
      { numRuns: 40 },
    );
  });

  it("takes every window once where neither weights nor tokens are given", () => {
    const mixed = mixWindows([part(0, 30), part(1, 5)], { seqlen: SEQLEN, seed: 3 });
    expect(new Set(firsts(mixed.ids)).size).toBe(35);
    expect(firsts(mixed.ids)).not.toEqual(firsts(mixed.ids).sort((a, b) => a - b));
    expect(mixWindows([part(0, 30), part(1, 5)], { seqlen: SEQLEN, seed: 4 }).ids).not.toEqual(mixed.ids);
  });

  it("shuffles each pass over a text differently", () => {
    const { ids } = mixWindows([part(0, 50, 1), part(1, 1, 1e-9)], { seqlen: SEQLEN, tokens: 400, seed: 1 });
    const order = firsts(ids);
    expect(order.slice(0, 50)).not.toEqual(order.slice(50));
  });

  it("refuses a text below one window, a budget below one, and weights that are none", () => {
    const options = { seqlen: SEQLEN, seed: 0 };
    expect(() => mixWindows([part(0, 3), part(1, 0)], options)).toThrow(/text 1 holds only 1/);
    expect(() => mixWindows([part(0, 3)], { ...options, tokens: 3 })).toThrow(/3 training tokens/);
    expect(() => mixWindows([], options)).toThrow(/no text/);
    for (const weight of [0, -1, NaN, Infinity])
      expect(() => mixWindows([part(0, 3, weight)], options)).toThrow(/weight/);
  });
});
