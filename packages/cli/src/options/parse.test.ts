import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { byteSize, integer, number } from "./parse.js";

describe("option values", () => {
  it("are numbers within bounds or refused", () => {
    const bpw = number({ above: 0, max: 16 });
    expect(["0.8", ".5", "1", "1e-1"].map(bpw)).toEqual([0.8, 0.5, 1, 0.1]);
    for (const bad of ["abc", "", " ", "NaN", "Infinity", "-1", "0", "17", "0x1", "1,5", "1e999"]) {
      expect(() => bpw(bad), bad).toThrow(InvalidArgumentError);
    }
    const windows = integer({ min: 1 });
    expect(windows("40")).toBe(40);
    for (const bad of ["0", "-3", "1.5", "1e2", "99999999999999999999"]) {
      expect(() => windows(bad), bad).toThrow(InvalidArgumentError);
    }
  });

  it("are sizes with decimal or binary units", () => {
    expect(["30MB", "1.5GiB", "4000000", "12 kb", "1m"].map(byteSize)).toEqual([
      3e7,
      1.5 * 2 ** 30,
      4e6,
      12e3,
      1e6,
    ]);
    for (const bad of ["", "MB", "30XB", "-5MB", "0", "0.1", "nan"]) {
      expect(() => byteSize(bad), bad).toThrow(InvalidArgumentError);
    }
  });
});
