import { describe, expect, it } from "vitest";
import { createRandom } from "./random.js";
import { createSampler, largest, type SamplingOptions } from "./sampler.js";

/** Probabilities by drawing many times. */
function frequencies(logits: number[], options: SamplingOptions, draws = 20_000): number[] {
  const sampler = createSampler(options);
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < draws; i++) counts[sampler.next(Float32Array.from(logits), [])]++;
  return counts.map((count) => count / draws);
}

function softmax(logits: number[], temperature = 1): number[] {
  const weights = logits.map((logit) => Math.exp(logit / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

/** Five standard deviations of a frequency over 20,000 draws. */
const SPREAD = 5 * Math.sqrt(0.25 / 20_000);
const LOGITS = [1, 3, 2, -1, 0.5, 2.5, -4];

function expectNear(got: number[], want: number[]): void {
  got.forEach((value, i) => expect(Math.abs(value - want[i]), `token ${i}`).toBeLessThan(SPREAD));
}

describe("createSampler", () => {
  it("takes the largest logit at temperature 0, the lowest index of equal ones, and never NaN", () => {
    expect(createSampler().next(Float32Array.of(1, 5, 5, 2), [])).toBe(1);
    expect(largest(Float32Array.of(NaN, 2, NaN, 3))).toBe(3);
  });

  it.each([0.3, 1, 2.5])("draws in proportion to exp(logit / %f)", (temperature) => {
    expectNear(frequencies(LOGITS, { temperature, seed: 3 }), softmax(LOGITS, temperature));
  });

  it("top-k keeps the k most likely, whatever their order", () => {
    for (const topK of [1, 2, 3, 7, 100]) {
      const kept = [...LOGITS].sort((a, b) => b - a).slice(0, topK);
      const want = softmax(LOGITS.map((logit) => (kept.includes(logit) ? logit : -Infinity)));
      expectNear(frequencies(LOGITS, { temperature: 1, topK, seed: topK }), want);
    }
  });

  it("top-k keeps exactly k of equal tokens, the lowest ids", () => {
    expectNear(frequencies([1, 1, 1, 1], { temperature: 1, topK: 2 }), [0.5, 0.5, 0, 0]);
  });

  it("top-p keeps the smallest set of most likely tokens that reaches p", () => {
    const probabilities = [0.5, 0.25, 0.15, 0.1];
    const logits = probabilities.map(Math.log);
    const shares: [number, number[]][] = [
      [0.4, [1, 0, 0, 0]],
      [0.6, [2 / 3, 1 / 3, 0, 0]],
      [0.8, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]],
      [1, probabilities],
    ];
    for (const [topP, want] of shares)
      expectNear(frequencies(logits, { temperature: 1, topP, seed: 8 }), want);
  });

  it("top-p counts what top-k left", () => {
    // 0.5 and 0.25 of 0.75: the first alone holds two thirds.
    const logits = [0.5, 0.25, 0.15, 0.1].map(Math.log);
    expectNear(frequencies(logits, { temperature: 1, topK: 2, topP: 0.65 }), [1, 0, 0, 0]);
  });

  it("min-p drops tokens below its share of the most likely one", () => {
    const logits = [0.5, 0.25, 0.15, 0.1].map(Math.log);
    expectNear(frequencies(logits, { temperature: 1, minP: 0.29, seed: 5 }), [
      0.5 / 0.9,
      0.25 / 0.9,
      0.15 / 0.9,
      0,
    ]);
    expectNear(frequencies(logits, { temperature: 1, minP: 1 }), [1, 0, 0, 0]);
  });

  it("finds the same nucleus among 50,000 tokens as sorting all of them does", () => {
    const random = createRandom(4);
    const logits = Float32Array.from({ length: 50_000 }, () => 8 * random() ** 3);
    const p = softmax([...logits]);
    const order = p.map((value, id) => ({ value, id })).sort((a, b) => b.value - a.value || a.id - b.id);
    let sum = 0;
    const nucleus = new Set<number>();
    for (const { value, id } of order) {
      nucleus.add(id);
      if ((sum += value) >= 0.1) break;
    }
    const sampler = createSampler({ temperature: 1, topP: 0.1, seed: 1 });
    const drawn = new Set<number>();
    for (let i = 0; i < 300; i++) drawn.add(sampler.next(logits.slice(), []));
    expect([...drawn].every((id) => nucleus.has(id))).toBe(true);
    expect(drawn.size).toBeGreaterThan(100);
  });

  it("a repeat penalty makes seen tokens less likely on both sides of zero", () => {
    const logits = Float32Array.of(2, 1.5, -1);
    expect(createSampler({ repeatPenalty: 2 }).next(logits, [0, 2, 0])).toBe(1);
    expect([...logits]).toEqual([1, 1.5, -2]);
  });

  it("draws the same with the same seed and otherwise with another", () => {
    const draw = (seed: number): number[] => {
      const sampler = createSampler({ temperature: 1, seed });
      return Array.from({ length: 50 }, () => sampler.next(Float32Array.from(LOGITS), []));
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });

  it.each([
    { temperature: -1 },
    { temperature: NaN },
    { topP: 0 },
    { topP: 1.1 },
    { topK: 1.5 },
    { minP: 2 },
    { repeatPenalty: 0 },
    { seed: 0.5 },
  ])("refuses %j with a sentence", (options) => {
    expect(() => createSampler(options)).toThrow(expect.objectContaining({ code: "usage" }));
  });

  it("says so when no logit is a number", () => {
    expect(() => createSampler({ temperature: 1 }).next(new Float32Array(4).fill(NaN), [])).toThrow(/finite/);
  });
});
