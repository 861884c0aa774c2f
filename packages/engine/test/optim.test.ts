import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { describe, expect, it } from "vitest";
import {
  AdamW,
  clipScale,
  compile,
  cosineSchedule,
  globalNorm,
  gradients,
  Graph,
  multiplySurrogate,
  Muon,
  newtonSchulzGraph,
  ops,
  signs,
  type Surrogate,
} from "../src/index.js";
import { expectClose, randomNormal, randomSource } from "./support.js";

describe("AdamW", () => {
  it("follows the textbook formulas", () => {
    const values = Float32Array.of(1, -2);
    const optimizer = new AdamW([{ name: "w", values, rate: 2, weightDecay: 0.1 }], {
      beta1: 0.8,
      beta2: 0.9,
      eps: 1e-6,
    });
    const want = [1, -2];
    const m = [0, 0];
    const v = [0, 0];
    for (let step = 1; step <= 5; step++) {
      const grads = [0.3 * step, -0.7];
      optimizer.step({ w: Float32Array.from(grads) }, 0.01, 0.5);
      for (let i = 0; i < 2; i++) {
        const g = grads[i] * 0.5;
        m[i] = 0.8 * m[i] + 0.2 * g;
        v[i] = 0.9 * v[i] + 0.1 * g * g;
        const update = m[i] / (1 - 0.8 ** step) / (Math.sqrt(v[i] / (1 - 0.9 ** step)) + 1e-6);
        want[i] = want[i] - 0.02 * (update + 0.1 * want[i]);
      }
    }
    expectClose(values, want, 1e-6);
  });

  it("resumes to the same bytes", () => {
    const random = randomSource(4);
    const grads = Array.from({ length: 6 }, () => ({ w: randomNormal(50, random) }));
    const start = randomNormal(50, random);
    const whole = start.slice();
    const uninterrupted = new AdamW([{ name: "w", values: whole }]);
    for (const grad of grads) uninterrupted.step(grad, 0.01);
    const values = start.slice();
    const first = new AdamW([{ name: "w", values }]);
    for (const grad of grads.slice(0, 3)) first.step(grad, 0.01);
    const stored = structuredClone(first.state());
    const second = new AdamW([{ name: "w", values }]);
    second.restore(stored);
    for (const grad of grads.slice(3)) second.step(grad, 0.01);
    expect(second.stepCount).toBe(6);
    expect(values).toEqual(whole);
    expect(second.state()).toEqual(uninterrupted.state());
  });

  it("refuses missing gradients and foreign states", () => {
    const optimizer = new AdamW([{ name: "w", values: new Float32Array(3) }]);
    expect(() => optimizer.step({}, 0.1)).toThrow(/no gradient of 3 elements for w/);
    expect(() => optimizer.restore({ step: 1, moments: {} })).toThrow(/no moments of 3 elements for w/);
  });
});

describe("Muon", () => {
  for (const [rows, cols] of [
    [9, 23],
    [17, 6],
  ] as const) {
    it(`brings all singular values of a ${rows} x ${cols} matrix near 1 and keeps the singular vectors`, async () => {
      const program = await compile(newtonSchulzGraph(rows, cols));
      const x = Matrix.from1DArray(rows, cols, Array.from(randomNormal(rows * cols, randomSource(8))));
      const { y } = (await program.run({ x: Float32Array.from(x.to1DArray()) })) as { y: Float32Array };
      const polar = Matrix.from1DArray(rows, cols, Array.from(y));
      for (const value of new SingularValueDecomposition(polar, { autoTranspose: true }).diagonal) {
        expect(value).toBeGreaterThan(0.65);
        expect(value).toBeLessThan(1.25);
      }
      // X = U S V^T and Y = U f(S) V^T make X^T Y = V S f(S) V^T symmetric.
      const product = x.transpose().mmul(polar);
      expectClose(product.to1DArray(), product.transpose().to1DArray(), 1e-4);
      await program.dispose();
    });
  }

  it("moves against the gradient with the root mean square of AdamW, and resumes to the same bytes", async () => {
    const [rows, cols] = [12, 20];
    const random = randomSource(9);
    const grads = Array.from({ length: 4 }, () => ({ w: randomNormal(rows * cols, random) }));
    const start = randomNormal(rows * cols, random);
    const build = (values: Float32Array): Muon => new Muon([{ name: "w", values, rows, cols }]);
    const whole = start.slice();
    const uninterrupted = build(whole);
    const [first, ...rest] = grads as [{ w: Float32Array }, ...{ w: Float32Array }[]];
    await uninterrupted.step(first, 0.1);
    const moved = whole.map((value, at) => start[at] - value);
    expect(moved.reduce((sum, value, at) => sum + value * first.w[at], 0)).toBeGreaterThan(0);
    // 0.1 * 0.2 up to the spread of the singular values.
    const rms = Math.sqrt(moved.reduce((sum, value) => sum + value * value, 0) / moved.length);
    expect(rms).toBeGreaterThan(0.02 * 0.65);
    expect(rms).toBeLessThan(0.02 * 1.25);
    const values = whole.slice();
    const second = build(values);
    second.restore(structuredClone(uninterrupted.state()));
    for (const grad of rest) {
      await uninterrupted.step(grad, 0.1, 0.5);
      await second.step(grad, 0.1, 0.5);
    }
    expect(values).toEqual(whole);
    expect(() => second.restore({ momentum: {} })).toThrow(/no momentum of 240 elements for w/);
    await expect(second.step({}, 0.1)).rejects.toThrow(/no gradient of 240 elements for w/);
    await uninterrupted.dispose();
    await second.dispose();
  });
});

describe("schedules and clipping", () => {
  it("warms up linearly, then falls as a cosine to the floor", () => {
    const rate = cosineSchedule({ steps: 100, warmup: 0.1, floor: 0.2 });
    expect(rate(0)).toBeCloseTo(0.1);
    expect(rate(9)).toBeCloseTo(1);
    expect(rate(10)).toBeCloseTo(1);
    expect(rate(55)).toBeCloseTo(0.6);
    expect(rate(100)).toBeCloseTo(0.2);
    expect(cosineSchedule({ steps: 3, warmup: 0 })(0)).toBe(1);
  });

  it("clips by the norm over all groups", () => {
    const norm = globalNorm([Float32Array.of(3), Float32Array.of(0, 4)]);
    expect(norm).toBe(5);
    expect(clipScale(norm, 1)).toBe(0.2);
    expect(clipScale(norm, 5)).toBe(1);
    expect(clipScale(0, 1)).toBe(1);
  });
});

describe("latent signs", () => {
  const latents = Float32Array.of(-2, -0.3, -0, 0, 0.01, 0.99, 1, 5);

  it("takes zero as +1", () => {
    expect(Array.from(signs(latents, new Float32Array(8)))).toEqual([-1, -1, 1, 1, 1, 1, 1, 1]);
  });

  for (const surrogate of [
    { kind: "clipped" },
    { kind: "onebit" },
    { kind: "tanh", width: 1 },
    { kind: "tanh", width: 100 },
  ] satisfies Surrogate[]) {
    it(`the host's ${surrogate.kind} surrogate is the graph's (${JSON.stringify(surrogate)})`, async () => {
      const graph = new Graph();
      const x = graph.input("x", [8]);
      const y = ops.signSte(x, surrogate);
      const [dx] = gradients([{ value: y, grad: graph.input("g", [8]) }], [x]);
      graph.output("y", y);
      graph.output("dx", dx);
      const program = await compile(graph);
      const g = randomNormal(8, randomSource(1));
      const results = await program.run({ x: latents, g });
      expect(Array.from(results["y"])).toEqual(Array.from(signs(latents, new Float32Array(8))));
      // 1 - tanh^2 loses digits in f32 where tanh is near 1; times the width.
      expectClose(multiplySurrogate(g.slice(), latents, surrogate), results["dx"], 2e-5);
      await program.dispose();
    });
  }
});
