import { normalVariates } from "@subbit/core";
import { afterAll, describe, expect, it } from "vitest";
import { correlatedGram, metricEnergy } from "../../test/every-start.js";
import type { Envelope } from "./methods/method.js";
import { Programs } from "./programs.js";
import { refine } from "./refine.js";
import { refitEnvelope, refitPath, refitPaths } from "./refit.js";
import { leftFactor, rightFactor, type SignPath } from "./sign-path.js";

const programs = new Programs(1);
afterAll(() => programs.dispose());

const [rows, cols] = [23, 29];
const weight = normalVariates(rows * cols, { seed: 1 });
const gram = correlatedGram(cols, 2);
const identity = gram.map((_, at) => (at % (cols + 1) === 0 ? 1 : 0));

function randomPath(rank: number, seed: number, midScale: boolean): SignPath {
  const positive = (count: number, stream: number) =>
    normalVariates(count, { seed, stream }).map((value) => 0.3 * Math.exp(0.2 * value));
  return {
    outLatents: normalVariates(rows * rank, { seed, stream: 3 }),
    inLatents: normalVariates(cols * rank, { seed, stream: 4 }),
    outScales: positive(rows, 0),
    inScales: positive(cols, 1),
    ...(midScale && { midScales: positive(rank, 2) }),
  };
}

function made(paths: readonly SignPath[]): Float32Array {
  const sum = new Float32Array(rows * cols);
  for (const path of paths) {
    const [left, right] = [leftFactor(path), rightFactor(path)];
    const rank = left.length / rows;
    sum.forEach((_, at) => {
      const [row, col] = [Math.floor(at / cols), at % cols];
      for (let k = 0; k < rank; k++) sum[at] += left[row * rank + k] * right[col * rank + k];
    });
  }
  return sum;
}

const SCALES = ["outScales", "inScales", "midScales"] as const;

describe.each([
  ["plain", undefined, identity],
  ["in the metric of the inputs", gram, gram],
] as const)("least squares, %s", (_name, metric, judge) => {
  const energy = (paths: readonly SignPath[]) => metricEnergy(weight, made(paths), judge, cols);

  it.each([true, false])("leave the last scales at their optimum (middle scale: %s)", async (midScale) => {
    const shape = { rows, cols, rank: 6 };
    let path = randomPath(6, 3, midScale);
    const before = energy([path]);
    for (let round = 0; round < 20; round++)
      path = await refitPath(weight, path, shape, { programs, gram: metric });
    const best = energy([path]);
    expect(best).toBeLessThan(before);
    for (const name of SCALES) {
      const scales = path[name];
      if (!scales) continue;
      for (let seed = 0; seed < 5; seed++) {
        const by = normalVariates(scales.length, { seed });
        const moved = { ...path, [name]: scales.map((value, i) => value * (1 + 0.05 * by[i])) };
        expect(energy([moved])).toBeGreaterThan(best);
      }
    }
  });

  it("fit several paths against one another", async () => {
    const shapes = [4, 7].map((rank) => ({ rows, cols, rank }));
    const paths = shapes.map(({ rank }) => randomPath(rank, rank, true));
    const alone = await Promise.all(
      paths.map((path, p) => refitPath(weight, path, shapes[p], { programs, gram: metric })),
    );
    const together = await refitPaths(weight, paths, shapes, { programs, gram: metric });
    expect(energy(together)).toBeLessThan(energy(paths));
    expect(energy(together)).toBeLessThan(Math.min(...alone.map((path) => energy([path]))));
  });

  it("are what gradient descent tends to", async () => {
    const shapes = [{ rows, cols, rank: 5 }];
    let fitted = [randomPath(5, 9, true)];
    for (let round = 0; round < 20; round++) {
      fitted = await refitPaths(weight, fitted, shapes, { programs, gram: metric });
    }
    const refined = await refine({ weight, gram: metric, paths: fitted, shapes, steps: 60, programs });
    // Adam wanders about the optimum and gives back the best point, which is the start or a rounding from it.
    expect(energy(refined)).toBeLessThanOrEqual(energy(fitted) * 1.0001);
    expect(energy(refined)).toBeGreaterThan(energy(fitted) * 0.99);
  });
});

describe("refitEnvelope", () => {
  it("lowers the error of a full-rank sign matrix in the metric of the inputs", async () => {
    const start: Envelope = {
      outScales: new Float32Array(rows).fill(1),
      inScales: new Float32Array(cols).fill(0.7),
    };
    const energy = ({ outScales, inScales }: Envelope) =>
      metricEnergy(
        weight,
        weight.map((value, at) => Math.sign(value) * outScales[Math.floor(at / cols)] * inScales[at % cols]),
        gram,
        cols,
      );
    const fitted = await refitEnvelope(weight, start, gram, programs);
    expect(energy(fitted)).toBeLessThan(energy(start));
    const moved = { ...fitted, inScales: fitted.inScales.map((value, i) => value * (1 + 0.1 * Math.sin(i))) };
    expect(energy(moved)).toBeGreaterThan(energy(fitted));
  });
});
