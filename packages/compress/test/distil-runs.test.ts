/** Runs of distillation as a whole: what every format and optimizer must do. */
import { SubbitError } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { distil } from "../src/distil/distil.js";
import type { DistilSnapshot, DistilTask, StepReport } from "../src/distil/types.js";
import { meanMagnitude } from "../src/student/latents.js";
import { blockArrays, copyBlock } from "../src/student/state.js";
import { type DistilRecipe, trainRecipe } from "../src/train-recipe.js";
import { FORMATS } from "./formats.js";
import { copyOf } from "./snapshots.js";
import { compile, tinyDistillation } from "./tiny-distillation.js";

const FORMAT = "one path with a middle scale";

function arraysOf({ student }: DistilTask): Map<string, Float32Array> {
  const all = new Map([["final-norm.weight", student.ends.finalNorm.weight]]);
  for (const [layer, block] of student.blocks.entries()) {
    for (const [name, array] of blockArrays(block)) all.set(`${layer}.${name}`, array);
  }
  return all;
}

function signsOf(task: DistilTask): Float32Array[] {
  return [...arraysOf(task)]
    .filter(([name]) => name.endsWith("Latents"))
    .map(([, latents]) => latents.map((latent) => (latent < 0 ? -1 : 1)));
}

/** Signs in which two states differ, and how many there are. */
function flipped(one: Float32Array[], other: Float32Array[]): { count: number; of: number } {
  const count = one.reduce(
    (sum, signs, i) => sum + signs.filter((sign, at) => sign !== other[i][at]).length,
    0,
  );
  return { count, of: one.reduce((sum, signs) => sum + signs.length, 0) };
}

describe.each(FORMATS)("%s", (format) => {
  it("learns one batch almost by heart", async () => {
    const tiny = await tinyDistillation(format, { count: 1, seqlen: 10 });
    const rates = { latents: 0.05, scales: 0.02, norms: 0.01 };
    const { losses, lossBefore, lossAfter } = await distil(
      tiny.task({ batch: 1, rates, beta1: 0.8, beta2: 0.95 }, 80),
      compile,
    );
    expect(losses[0]).toBeCloseTo(lossBefore, 5);
    expect(lossAfter).toBeLessThan(0.05 * lossBefore);
  });
});

const OPTIMIZERS: readonly (readonly [string, Partial<DistilRecipe>])[] = [
  ["AdamW, clipped, decaying", { clip: 0.5, weightDecay: 0.1 }],
  ["AdamW in 8 bits, two micro-batches", { optimizerBits: 8, accumulate: 2 }],
  ["Muon, averaged", { optimizer: "muon", average: 0.9 }],
  ["Muon in 8 bits", { optimizer: "muon", optimizerBits: 8 }],
  ["flips", { optimizer: "flips", rates: { latents: 1, scales: 0.01, norms: 0 } }],
  ["flips in 8 bits, clipped", { optimizer: "flips", optimizerBits: 8, clip: 1 }],
];

describe.each(OPTIMIZERS)("%s", (_, change) => {
  it("stopped anywhere and gone on with, gives the bytes of a run without a stop", async () => {
    const tiny = await tinyDistillation(FORMAT);
    // Flips draw what is exposed every twelve steps: one stop in the middle, one at a draw.
    const steps = 14;
    const judged = { evaluateEvery: 5, evaluate: valueOf };
    const whole = tiny.task(change, steps);
    const want = await distil(whole, { ...compile, ...judged });
    let from: DistilSnapshot | undefined;
    for (const stopAt of [4, 12]) {
      const stop = new AbortController();
      const stopped = distil(tiny.task(change, steps), {
        ...compile,
        ...judged,
        ...(from && { from }),
        signal: stop.signal,
        onStep: ({ step }) => {
          if (step === stopAt) stop.abort();
        },
        snapshot: (state) => {
          from = copyOf(state);
          return Promise.resolve();
        },
      });
      await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
      expect(from!.step).toBe(stopAt);
    }
    const resumed = tiny.task(change, steps);
    const got = await distil(resumed, { ...compile, ...judged, from: from! });
    expect(got).toEqual(want);
    expect(arraysOf(resumed)).toEqual(arraysOf(whole));
  });
});

it("keeps what was trained when an evaluation is interrupted, and makes that one again", async () => {
  const tiny = await tinyDistillation(FORMAT);
  const change = { average: 0.9 };
  const judged = { evaluateEvery: 2, evaluate: valueOf };
  const whole = tiny.task(change, 4);
  const want = await distil(whole, { ...compile, ...judged });
  const stop = new AbortController();
  let from: DistilSnapshot | undefined;
  const stopped = distil(tiny.task(change, 4), {
    ...compile,
    evaluateEvery: 2,
    evaluate: (state, step) => {
      if (step < 2) return valueOf(state, step);
      stop.abort();
      return Promise.reject(new SubbitError("interrupted", "stopped"));
    },
    signal: stop.signal,
    snapshot: (state) => {
      from = copyOf(state);
      return Promise.resolve();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
  const resumed = tiny.task(change, 4);
  expect(await distil(resumed, { ...compile, ...judged, from: from! })).toEqual(want);
  expect(arraysOf(resumed)).toEqual(arraysOf(whole));
});

/** Something that depends on all of a state, and comes and goes. */
function valueOf(state: DistilTask["student"], step: number): Promise<number> {
  const sums = state.blocks.flatMap((block) => [...blockArrays(block).values()].map(meanMagnitude));
  return Promise.resolve(((step % 3) - 1) * sums.reduce((sum, one) => sum + one, 0));
}

it("flips lower the divergence beside rates that are ours", async () => {
  const tiny = await tinyDistillation(FORMAT);
  const rates = { latents: 1, scales: 0.01, norms: 0.003 };
  const task = tiny.task({ optimizer: "flips", rates }, 30);
  const { lossBefore, lossAfter } = await distil(task, compile);
  expect(lossAfter).toBeLessThan(0.8 * lossBefore);
});

describe("published recipes", () => {
  it.each([
    // Their rates are for runs of thousands of steps; flips stretch theirs by themselves.
    ["littlebit", "two paths of unequal rank", 25],
    ["onebit", "onebit", 4],
    ["dbf", FORMAT, 1],
  ] as const)("%s lowers its loss and the divergence", async (name, format, faster) => {
    const tiny = await tinyDistillation(format);
    const { latents, scales, norms } = trainRecipe(name).rates;
    const rates = { latents: faster * latents, scales: faster * scales, norms: faster * norms };
    const task = tiny.task({ ...trainRecipe(name), rates }, 60);
    raw(task);
    const before = signsOf(task);
    const reports: StepReport[] = [];
    const { lossBefore, lossAfter } = await distil(task, {
      ...compile,
      onStep: (report) => reports.push(report),
    });
    const mean = (part: StepReport[]) => part.reduce((sum, { loss }) => sum + loss, 0) / part.length;
    expect(mean(reports.slice(-10))).toBeLessThan(0.9 * mean(reports.slice(0, 10)));
    expect(lossAfter).toBeLessThan(lossBefore);
    const { count, of } = flipped(before, signsOf(task));
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(0.5 * of);
    const { recipe } = task;
    for (const { loss, logitsLoss, hiddenLoss = 0, gradientNorm } of reports) {
      const kl = recipe.loss.logits * logitsLoss * (recipe.loss.logitsPer === "window" ? 12 : 1);
      expect(loss).toBeCloseTo(kl + recipe.loss.hidden * hiddenLoss, 4);
      expect(gradientNorm !== undefined).toBe(recipe.clip > 0);
    }
  });

  /** Latents as a factorisation leaves them, much smaller than one; OneBit's are signs of one size. */
  function raw({ student, recipe }: DistilTask): void {
    if (recipe.latents !== "raw") return;
    for (const block of student.blocks) {
      for (const [name, latents] of blockArrays(block)) {
        if (name.endsWith("fullLatents"))
          latents.forEach((value, i) => (latents[i] = value < 0 ? -0.01 : 0.01));
        else if (name.endsWith("Latents")) latents.forEach((value, i) => (latents[i] = 0.05 * value));
      }
    }
  }
});

describe("what is reported and kept", () => {
  it("counts steps and tokens, and follows the schedule", async () => {
    const tiny = await tinyDistillation(FORMAT);
    const reports: StepReport[] = [];
    const task = tiny.task({ accumulate: 2, schedule: "constant", warmup: 0.5 }, 4);
    await distil(task, { ...compile, onStep: (report) => reports.push(report) });
    expect(reports.map(({ step, steps, tokens, rate }) => ({ step, steps, tokens, rate }))).toEqual(
      [0.5, 1, 1, 1].map((rate, i) => ({ step: i + 1, steps: 4, tokens: (i + 1) * 48, rate })),
    );
    expect(
      reports.every(({ gradientNorm, hiddenLoss }) => gradientNorm! > 0 && hiddenLoss === undefined),
    ).toBe(true);
  });

  it("keeps the best state that was evaluated, and the start where nothing was better", async () => {
    const tiny = await tinyDistillation(FORMAT);
    const seen = new Map<number, Map<string, Float32Array>>();
    const judge = (values: Record<number, number>) => ({
      evaluateEvery: 2,
      evaluate: (state: DistilTask["student"], step: number) => {
        const blocks = state.blocks.map((block) => copyBlock(block));
        seen.set(step, arraysOf({ student: { ...state, blocks } } as DistilTask));
        return Promise.resolve(values[step]);
      },
    });
    const task = tiny.task({}, 5);
    const values = { 0: 9, 2: 3, 4: 1, 5: 2 };
    const { evaluations, bestStep } = await distil(task, { ...compile, ...judge(values) });
    expect(evaluations).toEqual(
      Object.entries(values).map(([step, value]) => ({ step: Number(step), value })),
    );
    expect(bestStep).toBe(4);
    const latents = (arrays: Map<string, Float32Array>) => arrays.get("0.q.paths.0.outLatents");
    expect(latents(arraysOf(task))).toEqual(latents(seen.get(4)!));
    expect(latents(arraysOf(task))).not.toEqual(latents(seen.get(5)!));
    const worse = tiny.task({}, 5);
    const start = latents(arraysOf(worse))!.slice();
    const { bestStep: none } = await distil(worse, { ...compile, ...judge({ 0: 1, 2: NaN, 4: 2, 5: 2 }) });
    expect(none).toBe(0);
    expect(latents(arraysOf(worse))).toEqual(start);
  });

  it("evaluates and keeps the moving average, which moves less than what it follows", async () => {
    const tiny = await tinyDistillation(FORMAT);
    const [plain, averaged] = [
      tiny.task({ schedule: "constant" }, 30),
      tiny.task({ schedule: "constant", average: 0.99 }, 30),
    ];
    const start = arraysOf(tiny.task());
    const one = await distil(plain, compile);
    let evaluated: Float32Array | undefined;
    const two = await distil(averaged, {
      ...compile,
      evaluateEvery: 30,
      evaluate: (state, step) => {
        evaluated = blockArrays(state.blocks[0]).get("q.paths.0.outLatents")!.slice();
        return Promise.resolve(-step);
      },
    });
    expect(two.losses).toEqual(one.losses);
    const name = "0.q.paths.0.outLatents";
    const moved = (task: DistilTask) => {
      const from = start.get(name)!;
      return meanMagnitude(
        arraysOf(task)
          .get(name)!
          .map((value, i) => value - from[i]),
      );
    };
    expect(moved(averaged)).toBeLessThan(moved(plain));
    expect(moved(averaged)).toBeGreaterThan(0.5 * moved(plain));
    expect(arraysOf(averaged).get(name)).toEqual(evaluated);
  });

  it("clips the gradient of the whole model to a norm that it reports", async () => {
    const tiny = await tinyDistillation(FORMAT);
    const change = { ratesAre: "absolute", epsilon: 1, beta1: 0, beta2: 0, warmup: 0 } as const;
    // With a large epsilon Adam's step is the gradient itself over (|g| + 1), near enough to g where that is small.
    const moved = async (clip: number) => {
      const task = tiny.task({ ...change, clip, rates: { latents: 0, scales: 1, norms: 1 } }, 1);
      const start = arraysOf(tiny.task());
      const reports: StepReport[] = [];
      await distil(task, { ...compile, onStep: (report) => reports.push(report) });
      let squares = 0;
      for (const [key, array] of arraysOf(task)) {
        array.forEach((value, i) => (squares += (value - start.get(key)![i]) ** 2));
      }
      return { norm: reports[0].gradientNorm!, length: Math.sqrt(squares) };
    };
    const free = await moved(1e9);
    const limit = 1e-3 * free.norm;
    const clipped = await moved(limit);
    expect(clipped.norm).toBeCloseTo(free.norm, 6);
    expect(Math.abs(clipped.length / limit - 1)).toBeLessThan(0.02);
  });

  it("stops where the loss is no number, naming the step and the last snapshot", async () => {
    const tiny = await tinyDistillation(FORMAT);
    const task = tiny.task({ rates: { latents: 0, scales: 1e30, norms: 0 }, warmup: 0 }, 30);
    await expect(distil(task, compile)).rejects.toThrow(
      /diverged at step \d+: its loss is NaN; there is no snapshot of it; ask for smaller rates/,
    );
    const again = tiny.task({ rates: { latents: 0, scales: 1e30, norms: 0 }, warmup: 0 }, 30);
    const snapshot = () => Promise.resolve();
    await expect(distil(again, { ...compile, snapshot, snapshotSeconds: 0 })).rejects.toThrow(
      /the last snapshot is of step \d+/,
    );
  });

  it("refuses a snapshot of another run", async () => {
    const tiny = await tinyDistillation(FORMAT);
    const from = { arrays: new Map(), step: 1, losses: [1], lossBefore: 1, evaluations: [] };
    await expect(distil(tiny.task(), { ...compile, from })).rejects.toMatchObject({ code: "input" });
  });
});
