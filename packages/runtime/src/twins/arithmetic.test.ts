import { describe, expect, it } from "vitest";
import { madd } from "./arithmetic.js";

describe("the twin of a fused multiply-add", () => {
  it("rounds once, also where the sum of doubles falls halfway between two float32", () => {
    const x = 1 + 2 ** -12;
    const product = 1 + 2 ** -11;
    // x * x lies halfway between these two; the third number decides.
    expect(madd(true, x, x, 2 ** -60)).toBe(product + 2 ** -23);
    expect(madd(true, x, x, -(2 ** -60))).toBe(product);
    expect(madd(true, -x, x, -(2 ** -60))).toBe(-product - 2 ** -23);
    expect(madd(true, x, x, 0)).toBe(product);
    expect(madd(false, x, x, 2 ** -60)).toBe(product);
  });
});
