import { describe, expect, it } from "vitest";
import { drawWindows, firstWindows, gatherWindows } from "./windows.js";

const text = (length: number) => ({ ids: Int32Array.from({ length }, (_, i) => i), name: "counting" });
const options = { samples: 3, seqlen: 4, seed: 1, vocabSize: 1000 };

describe("drawWindows", () => {
  it("draws whole aligned windows without repetition, the same ones for the same seed", () => {
    const drawn = drawWindows(text(43), options);
    expect(drawn.count).toBe(3);
    const starts = [0, 1, 2].map((i) => drawn.ids[i * 4]);
    for (const [i, start] of starts.entries()) {
      expect(start % 4).toBe(0);
      expect([...drawn.ids.subarray(i * 4, i * 4 + 4)]).toEqual([start, start + 1, start + 2, start + 3]);
    }
    expect(new Set(starts).size).toBe(3);
    expect(drawWindows(text(43), options)).toEqual(drawn);
    expect(drawWindows(text(43), { ...options, seed: 2 })).not.toEqual(drawn);
  });
  it("takes all windows of a short text", () => {
    expect(drawWindows(text(9), options).count).toBe(2);
  });
  it("refuses a text below one window and ids of another tokenizer", () => {
    expect(() => drawWindows(text(3), options)).toThrow(/3/);
    expect(() => drawWindows(text(43), { ...options, vocabSize: 40 })).toThrow(/token id 40/);
  });
});

describe("firstWindows", () => {
  it("keeps the order and the limit", () => {
    const first = firstWindows(text(43), 4, 2);
    expect([...first.ids]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...gatherWindows(first, [1, 0])]).toEqual([4, 5, 6, 7, 0, 1, 2, 3]);
  });
});
