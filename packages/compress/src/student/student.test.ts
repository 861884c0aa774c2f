import { describe, expect, it } from "vitest";
import { Random } from "../random.js";
import { meanMagnitude, normaliseLatents } from "./latents.js";

describe("normaliseLatents", () => {
  it("brings rows and columns to unit mean magnitude and keeps every sign", () => {
    const random = new Random(5);
    const [rows, cols] = [37, 23];
    const rowSize = Array.from({ length: rows }, () => 10 ** (4 * random.next() - 2));
    const latents = Float32Array.from(
      { length: rows * cols },
      (_, i) => (random.next() - 0.4) * rowSize[Math.floor(i / cols)],
    );
    const before = latents.slice();
    normaliseLatents(latents, rows, cols);
    for (let row = 0; row < rows; row++) {
      expect(meanMagnitude(latents.subarray(row * cols, (row + 1) * cols))).toBeCloseTo(1, 5);
    }
    for (let col = 0; col < cols; col++) {
      const column = Float32Array.from({ length: rows }, (_, row) => latents[row * cols + col]);
      expect(Math.abs(meanMagnitude(column) - 1)).toBeLessThan(0.05);
    }
    expect(latents.every((value, i) => Math.sign(value) === Math.sign(before[i]))).toBe(true);
  });
  it("gives zeros a sign", () => {
    const zeros = new Float32Array(6);
    normaliseLatents(zeros, 2, 3);
    expect([...zeros]).toEqual([1, 1, 1, 1, 1, 1]);
  });
});
