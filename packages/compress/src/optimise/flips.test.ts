import { LINEAR_ROLES } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { Random } from "../random.js";
import { exposedRole, flipPlan, FlipSteps } from "./flips.js";
import type { LatentArrays } from "./latent-stepper.js";

/** Steps in which evidence is only gathered. */
const SETTLING = 5;

function arraysOf(latents: Float32Array): LatentArrays {
  return {
    latents,
    signs: latents.map((latent) => (latent < 0 ? -1 : 1)),
    moments: [new Float32Array(latents.length), new Float32Array(latents.length)],
    rows: 1,
    cols: latents.length,
    salt: 1,
  };
}

const scalarsAt = (time: number) => ({
  rate: 1,
  time,
  beta1: 0,
  beta2: 0.95,
  floor: 0,
  epsilon: 1e-8,
  keep: 1,
  gradientScale: 1,
});

describe("FlipSteps", () => {
  it("turns the signs that a quadratic loss wants turned, and no others", async () => {
    // loss = sum w_i (s_i - t_i)^2 / 2: the gradient of a right sign is zero.
    const random = new Random(1);
    const target = Float32Array.from({ length: 400 }, () => (random.next() < 0.5 ? -1 : 1));
    const arrays = arraysOf(target.map((sign, i) => (i % 10 === 0 ? -sign : sign) * 0.5));
    const flips = new FlipSteps({ share: 0.02 });
    let turned = 0;
    for (let time = 1; time <= 20; time++) {
      const before = arrays.signs.slice();
      const gradient = arrays.signs.map((sign, i) => (1 + (i % 7)) * (sign - target[i]));
      await flips.step(arrays, gradient, scalarsAt(time));
      const moved = arrays.signs.filter((sign, i) => sign !== before[i]).length;
      if (time <= SETTLING) expect(moved).toBe(0);
      // 2 % of 400, and one more by chance where a share is broken.
      expect(moved).toBeLessThanOrEqual(9);
      turned += moved;
    }
    expect(turned).toBe(40);
    expect(arrays.signs).toEqual(target);
    expect(arrays.latents.map((latent) => (latent < 0 ? -1 : 1))).toEqual(target);
  });

  it("flips zeros too, and a share of less than one sign now and then", async () => {
    const arrays = arraysOf(new Float32Array(50));
    const flips = new FlipSteps({ share: 0.005 });
    let turned = 0;
    for (let time = 1; time <= 60; time++) {
      await flips.step(arrays, new Float32Array(50).fill(1), scalarsAt(time));
      turned = arrays.signs.filter((sign) => sign < 0).length;
    }
    // A quarter of a sign in each of 55 steps.
    expect(turned).toBeGreaterThan(4);
    expect(turned).toBeLessThan(30);
    expect(arrays.latents.filter((latent) => latent < 0).length).toBe(turned);
  });
});

it("exposes a tenth of the linears, at most one a block, all in turn", () => {
  const seen = new Map<string, number>();
  const draws = 500;
  for (let draw = 0; draw < draws; draw++) {
    for (let layer = 0; layer < 4; layer++) {
      const role = exposedRole(3, draw, layer, LINEAR_ROLES);
      if (role !== undefined) seen.set(role, (seen.get(role) ?? 0) + 1);
    }
  }
  const share = [...seen.values()].reduce((sum, count) => sum + count, 0) / (draws * 4 * LINEAR_ROLES.length);
  // Four standard deviations of 2,000 blocks of which seven tenths have one.
  expect(Math.abs(share - 0.1)).toBeLessThan((4 * Math.sqrt(0.7 * 0.3)) / Math.sqrt(2000) / 7);
  expect([...seen.keys()].sort()).toEqual([...LINEAR_ROLES].sort());
});

it("a run of the official length is the official one; shorter runs do more in a step", () => {
  expect(flipPlan(10_500)).toEqual({ stretch: 1, interval: 50, share: 1e-5 });
  expect(flipPlan(1_050)).toMatchObject({ stretch: 10, interval: 50, share: 1e-4 });
  expect(flipPlan(20)).toMatchObject({ stretch: 100, interval: 12 });
});
