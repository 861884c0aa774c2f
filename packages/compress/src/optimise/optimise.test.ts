import { describe, expect, it } from "vitest";
import { Random } from "../random.js";
import { LATENT_LIMIT, LatentSteps, latentStepTwin } from "./latent-step.js";

/** f32 against f64 over a few steps of unit-sized values; a small second moment in the denominator amplifies rounding. */
const TOLERANCE = 1e-3;

describe("LatentSteps", () => {
  it.each([1, 7, 1000])("agrees with its twin over several steps of %i latents", async (length) => {
    const random = new Random(length);
    const draw = () => Float32Array.from({ length }, () => 4 * random.next() - 2);
    const make = (latents: Float32Array) => ({
      latents: latents.slice(),
      signs: new Float32Array(length),
      first: new Float32Array(length),
      second: new Float32Array(length),
    });
    const start = draw();
    const [fast, slow] = [make(start), make(start)];
    const steps = new LatentSteps(1.5, { threads: 1 });
    for (let step = 1; step <= 5; step++) {
      const gradient = draw();
      const scalars = {
        beta1: 0.9,
        beta2: 0.99,
        rate: 0.3 / (1 - 0.9 ** step),
        secondCorrection: 1 / (1 - 0.99 ** step),
        floor: 0.3,
      };
      await steps.step(fast, gradient, scalars);
      latentStepTwin(slow, gradient, 1.5, scalars);
    }
    await steps.dispose();
    for (const name of ["latents", "first", "second"] as const) {
      for (let i = 0; i < length; i++)
        expect(Math.abs(fast[name][i] - slow[name][i])).toBeLessThan(TOLERANCE);
    }
    expect([...fast.signs]).toEqual([...fast.latents].map((latent) => (latent < 0 ? -1 : 1)));
    expect(fast.latents.every((latent) => Math.abs(latent) <= LATENT_LIMIT)).toBe(true);
  });
});
