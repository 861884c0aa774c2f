import { compile, Graph, multiplySurrogate, newtonSchulzGraph, ops, type Surrogate } from "@subbit/engine";
import { describe, expect, it } from "vitest";
import { Random } from "../random.js";
import { latentStepTwin, LatentSteps } from "./latent-step.js";
import { LATENT_LIMIT, type LatentArrays, type LatentStepper, type StepScalars } from "./latent-stepper.js";
import { MuonSteps, muonStepTwin } from "./muon-step.js";
import { SurrogateSteps } from "./surrogate-step.js";

/** f32 against f64 over a few steps of unit-sized values; a small second moment in the denominator amplifies rounding. */
const TOLERANCE = 1e-3;
/** Five Newton-Schulz steps in f32 on both sides, started from inputs that differ by rounding. */
const MUON_TOLERANCE = 1e-3;
/** 1 - tanh^2 loses digits in f32 where tanh is near 1. */
const SLOPE_TOLERANCE = 1e-5;

const STEPS = 5;

const SURROGATES: readonly Surrogate[] = [
  { kind: "tanh", width: 1.5 },
  { kind: "clipped" },
  { kind: "onebit" },
];
const VARIANTS = [
  { limit: LATENT_LIMIT },
  { decays: true, collected: true },
  { limit: 1.5, decays: true },
] as const;

function draw(length: number, random: Random): Float32Array {
  return Float32Array.from({ length }, () => 4 * random.next() - 2);
}

function parameter(latents: Float32Array, rows: number, moments: number): LatentArrays {
  const zeros = () => new Float32Array(latents.length);
  return {
    latents: latents.slice(),
    signs: zeros(),
    moments: Array.from({ length: moments }, zeros),
    rows,
    cols: latents.length / rows,
    salt: 0,
  };
}

function scalarsAt(time: number, decays: boolean): StepScalars {
  return {
    rate: 0.3,
    time,
    beta1: 0.9,
    beta2: 0.99,
    floor: 0.3,
    epsilon: 1e-8,
    keep: decays ? 0.9 : 1,
    gradientScale: 0.5,
  };
}

/** Runs both over the same steps and compares all they leave behind. */
async function compare(
  stepper: LatentStepper,
  twin: (arrays: LatentArrays, gradient: Float32Array, scalars: StepScalars) => Promise<void>,
  { length, rows, decays, tolerance }: { length: number; rows: number; decays: boolean; tolerance: number },
): Promise<LatentArrays> {
  const random = new Random(length);
  const start = draw(length, random);
  const [fast, slow] = [parameter(start, rows, stepper.moments), parameter(start, rows, stepper.moments)];
  for (let time = 1; time <= STEPS; time++) {
    const gradient = draw(length, random);
    const scalars = scalarsAt(time, decays);
    const given = gradient.slice();
    await stepper.step(fast, given, scalars);
    expect(given).toEqual(gradient);
    await twin(slow, gradient, scalars);
  }
  await stepper.dispose();
  for (const [index, array] of [fast.latents, ...fast.moments].entries()) {
    const want = [slow.latents, ...slow.moments][index];
    array.forEach((value, i) => expect(Math.abs(value - want[i])).toBeLessThan(tolerance));
  }
  expect([...fast.signs]).toEqual([...fast.latents].map((latent) => (latent < 0 ? -1 : 1)));
  return fast;
}

describe("LatentSteps", () => {
  const cases = SURROGATES.flatMap((surrogate) => VARIANTS.map((variant) => ({ surrogate, ...variant })));
  it.each(cases)("agrees with its twin over several steps: $surrogate.kind, %o", async (options) => {
    for (const length of [1, 7, 1000]) {
      const { latents } = await compare(
        new LatentSteps(options, { threads: 1 }),
        (arrays, gradient, scalars) => Promise.resolve(latentStepTwin(arrays, gradient, options, scalars)),
        { length, rows: 1, decays: "decays" in options, tolerance: TOLERANCE },
      );
      const limit = "limit" in options ? options.limit : Infinity;
      expect(latents.every((latent) => Math.abs(latent) <= limit)).toBe(true);
    }
  });
});

describe("MuonSteps", () => {
  it.each([
    { surrogate: SURROGATES[0], limit: LATENT_LIMIT },
    { surrogate: SURROGATES[2], decays: true, collected: true },
  ])("agrees with its twin over several steps: %o", async (options) => {
    for (const [rows, cols] of [
      [6, 15],
      [15, 6],
    ]) {
      const program = await compile(newtonSchulzGraph(rows, cols));
      const twin = async (arrays: LatentArrays, gradient: Float32Array, scalars: StepScalars) => {
        // The twin is plain loops around one program, so what that gives is asked for first.
        let wanted = new Float32Array();
        const probe = { ...arrays, latents: arrays.latents.slice(), moments: [arrays.moments[0].slice()] };
        muonStepTwin(probe, gradient, options, scalars, (x) => (wanted = Float32Array.from(x)));
        const { y } = await program.run({ x: wanted });
        muonStepTwin(arrays, gradient, options, scalars, () => y);
      };
      await compare(new MuonSteps(options, { threads: 1 }), twin, {
        length: rows * cols,
        rows,
        decays: "decays" in options,
        tolerance: MUON_TOLERANCE,
      });
      await program.dispose();
    }
  });
});

describe("SurrogateSteps", () => {
  it.each(SURROGATES)(
    "turns gradients of signs into those of latents and sums their squares: $kind",
    async (kind) => {
      const random = new Random(3);
      const steps = new SurrogateSteps(kind, { threads: 1 });
      const [latents, gradient] = [draw(500, random), draw(500, random)];
      const want = multiplySurrogate(gradient.slice(), latents, kind);
      const squares = await steps.through(latents, gradient);
      gradient.forEach((value, i) => expect(Math.abs(value - want[i])).toBeLessThan(SLOPE_TOLERANCE));
      const sum = want.reduce((total, value) => total + value * value, 0);
      expect(Math.abs(squares - sum)).toBeLessThan(SLOPE_TOLERANCE * sum);
      await steps.dispose();
    },
  );

  it("is the derivative of tanh(k x) for the tanh surrogate", async () => {
    const width = 1.7;
    const graph = new Graph();
    const x = graph.input("x", [64]);
    graph.output("y", ops.surrogateSlope(x, { kind: "tanh", width }));
    const program = await compile(graph);
    const points = draw(64, new Random(4));
    const { y } = await program.run({ x: points });
    const h = 1e-4;
    points.forEach((point, i) => {
      const slope = (Math.tanh(width * (point + h)) - Math.tanh(width * (point - h))) / (2 * h);
      expect(Math.abs(y[i] - slope)).toBeLessThan(SLOPE_TOLERANCE);
    });
    await program.dispose();
  });
});
