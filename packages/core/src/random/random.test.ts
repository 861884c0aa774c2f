import { describe, expect, it } from "vitest";
import { normalVariates, uniformWords } from "./normal.js";
import { philox4x32 } from "./philox.js";

describe("philox4x32", () => {
  // Known answers published with Random123 (philox4x32, 10 rounds).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)("maps counter %j under key %j to the published words", (counter, key, words) => {
    expect(philox4x32(counter, key)).toEqual([...words]);
  });
});

describe("streams", () => {
  it("gives the same beginning whatever the length", () => {
    const long = uniformWords(101, { seed: 7, stream: 3 });
    for (const count of [1, 2, 5, 64]) {
      expect(uniformWords(count, { seed: 7, stream: 3 })).toEqual(long.slice(0, count));
      expect(normalVariates(count, { seed: 7 })).toEqual(normalVariates(101, { seed: 7 }).slice(0, count));
    }
  });

  it("gives other numbers for other seeds and streams", () => {
    const first = uniformWords(8, { seed: 1 });
    expect(uniformWords(8, { seed: 2 })).not.toEqual(first);
    expect(uniformWords(8, { seed: 1, stream: 1 })).not.toEqual(first);
    expect(uniformWords(8, { seed: 1 + 2 ** 32 })).not.toEqual(first);
  });

  it("draws standard normal variates", () => {
    const count = 100_000;
    const x = normalVariates(count, { seed: 11 });
    const moment = (power: number) => x.reduce((sum, value) => sum + value ** power, 0) / count;
    // Five standard errors of each sample moment.
    expect(Math.abs(moment(1))).toBeLessThan(5 * Math.sqrt(1 / count));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / count));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / count));
    const lag = x.slice(1).reduce((sum, value, i) => sum + value * x[i], 0) / count;
    expect(Math.abs(lag)).toBeLessThan(5 * Math.sqrt(1 / count));
  });
});
