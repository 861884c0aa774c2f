import { expect, it } from "vitest";
import { Random } from "../random.js";
import { DivergenceWatch } from "./divergence.js";

/** The first step at which something is wrong with losses drawn by step. */
function firstWrong(
  lossAt: (step: number) => number,
  steps = 2000,
): { step: number; wrong: string } | undefined {
  const watch = new DivergenceWatch();
  for (let step = 0; step < steps; step++) {
    const wrong = watch.see(lossAt(step));
    if (wrong !== undefined) return { step, wrong };
  }
  return undefined;
}

it("says nothing of noisy losses that fall, far or to nothing", () => {
  const random = new Random(1);
  const noise = () => 0.3 + 1.4 * random.next();
  expect(firstWrong((step) => noise() * (0.5 + 3 * Math.exp(-step / 100)))).toBeUndefined();
  expect(firstWrong((step) => noise() * 3 * Math.exp(-step / 50))).toBeUndefined();
});

it("says nothing of a few bad steps, or of a loss that rises to twice its best", () => {
  expect(firstWrong((step) => (step % 200 === 100 ? 20 : 1))).toBeUndefined();
  expect(firstWrong((step) => (step < 500 ? 1 : 2))).toBeUndefined();
});

it("says at once when a loss is not a number, and after many steps when it stays far above its best", () => {
  expect(firstWrong((step) => (step === 7 ? NaN : 1))).toEqual({ step: 7, wrong: "its loss is NaN" });
  const found = firstWrong((step) => (step < 500 ? 1 : 6));
  expect(found?.wrong).toMatch(/above 3 times its best of 1\.00 for 50 steps/);
  expect(found!.step).toBeGreaterThan(549);
  expect(found!.step).toBeLessThan(580);
});
