/** The gradient of the whole model's loss, of every kind, against finite differences. */
import { gradName } from "@subbit/engine";
import { describe, expect, it } from "vitest";
import { directionSquares, meanSquares } from "../src/distil/hidden-loss.js";
import { ModelTrainer } from "../src/distil/model-trainer.js";
import { Random } from "../src/random.js";
import { latentsName } from "../src/student/feeds.js";
import type { LossChoice } from "../src/train-recipe.js";
import type { Format } from "./formats.js";
import { compile, tinyDistillation } from "./tiny-distillation.js";

/** Losses are f32 sums over a few hundred tokens' logits: differences of 1 % carry some four digits, less curvature. */
const TOLERANCE = 0.03;
/** Share of a parameter's length that it is moved by. */
const STEP = 2e-3;
/** Slopes that change the loss by less than this share of it drown in its rounding. */
const VISIBLE = 3e-4;

/** Feeds of signs, and others, that are checked a block: enough for a test of seconds. */
const MOST = 2;

const LOSSES: readonly LossChoice[] = [
  { logits: 1, logitsPer: "token", hidden: 0, hiddenKind: "mse" },
  { logits: 0.01, logitsPer: "window", hidden: 10, hiddenKind: "mse" },
  { logits: 0.01, logitsPer: "window", hidden: 1, hiddenKind: "normalised" },
];
const FORMATS: readonly Format[] = ["onebit", "two paths of unequal rank", "envelopes of rank 2"];

describe.each(FORMATS)("%s", (format) => {
  it.each(LOSSES)("loss %o: signs (as real numbers), scales and norms", async (loss) => {
    const tiny = await tinyDistillation(format);
    const trainer = await ModelTrainer.create(tiny.task({ loss }), compile);
    const batches = [
      [0, 1],
      [2, 3],
    ];
    const start = await trainer.gather(batches);
    const random = new Random(11);
    const checked = { signs: 0, others: 0 };
    for (const [layer, block] of trainer.blocks.entries()) {
      const gradients = Object.fromEntries(
        Object.entries(trainer.gradients(layer)).map(([name, array]) => [name, array.slice()]),
      );
      for (const index of random.permutation(block.trainable.length)) {
        const feed = block.trainable[index];
        const kind = latentsName(feed) === feed ? "others" : "signs";
        if (checked[kind] >= MOST * (layer + 1)) continue;
        const values = block.feeds[feed];
        const gradient = gradients[gradName(feed)];
        const direction = mixed(gradient, random);
        const step = STEP * length(values);
        const at = async (sign: number) => {
          const kept = values.slice();
          values.forEach((value, i) => (values[i] = value + sign * step * direction[i]));
          const { loss: moved } = await trainer.gather(batches);
          values.set(kept);
          return moved.total;
        };
        const slope = gradient.reduce((sum, g, i) => sum + g * direction[i], 0);
        if (Math.abs(slope) * step < VISIBLE * start.loss.total) continue;
        const difference = ((await at(1)) - (await at(-1))) / (2 * step);
        expect(Math.abs(difference / slope - 1), `${feed} of block ${layer}`).toBeLessThan(TOLERANCE);
        checked[kind]++;
      }
    }
    expect(checked.signs).toBeGreaterThanOrEqual(MOST);
    expect(checked.others).toBeGreaterThanOrEqual(MOST);
    await trainer.dispose();
  });
});

it("the final norm's weight has the gradient of both losses", async () => {
  const tiny = await tinyDistillation("onebit");
  const task = tiny.task({ loss: LOSSES[1] });
  const trainer = await ModelTrainer.create(task, compile);
  const batches = [[0, 1, 2, 3]];
  const finalNorm = (await trainer.gather(batches)).finalNorm!;
  const { weight } = task.student.ends.finalNorm!;
  const direction = mixed(finalNorm, new Random(1));
  const at = async (step: number) => {
    weight.forEach((value, i) => (weight[i] = value + step * direction[i]));
    const { loss } = await trainer.gather(batches);
    weight.forEach((value, i) => (weight[i] = value - step * direction[i]));
    return loss.total;
  };
  const step = STEP * length(weight);
  const slope = finalNorm.reduce((sum, g, i) => sum + g * direction[i], 0);
  expect(Math.abs(((await at(step)) - (await at(-step))) / (2 * step) / slope - 1)).toBeLessThan(TOLERANCE);
  await trainer.dispose();
});

it("two micro-batches have the loss and gradient of one batch of all their windows", async () => {
  const tiny = await tinyDistillation("one path with a middle scale");
  const trainer = await ModelTrainer.create(tiny.task({ loss: LOSSES[1] }), compile);
  const one = await trainer.gather([[0, 1, 2, 3]]);
  const whole = trainer.gradients(0)["grad.q.paths.0.outSigns"].slice();
  const two = await trainer.gather([
    [0, 1],
    [2, 3],
  ]);
  expect(two.loss.total).toBeCloseTo(one.loss.total, 4);
  const difference = trainer.gradients(0)["grad.q.paths.0.outSigns"].map((value, i) => value - whole[i]);
  expect(length(difference)).toBeLessThan(1e-5 * length(whole) + 1e-9);
  await trainer.dispose();
});

describe("losses of hidden states", () => {
  const random = new Random(5);
  const draw = () => Float32Array.from({ length: 24 }, () => 2 * random.next() - 1);
  it.each([
    ["mean squares", (s: Float32Array, t: Float32Array) => meanSquares(s, t, 3)],
    ["directions", (s: Float32Array, t: Float32Array) => directionSquares(s, t, 6, 3)],
  ])("%s: zero where both agree, gradient of finite differences", (_, loss) => {
    const [student, teacher] = [draw(), draw()];
    expect(loss(teacher, teacher).loss).toBeCloseTo(0, 6);
    const { gradient } = loss(student, teacher);
    const h = 1e-3;
    student.forEach((value, i) => {
      const at = (x: number) => {
        const moved = student.slice();
        moved[i] = x;
        return loss(moved, teacher).loss;
      };
      expect(gradient[i]).toBeCloseTo((3 * (at(value + h) - at(value - h))) / (2 * h), 3);
    });
  });

  it("directions do not see the lengths of states", () => {
    const [student, teacher] = [draw(), draw()];
    const scaled = student.map((value) => 7 * value);
    expect(directionSquares(scaled, teacher, 6, 1).loss).toBeCloseTo(
      directionSquares(student, teacher, 6, 1).loss,
      6,
    );
  });
});

/** A direction of length one, half along the gradient, so that the loss changes visibly, and half at random. */
function mixed(gradient: Float32Array, random: Random): Float32Array {
  const drawn = gradient.map(() => 2 * random.next() - 1);
  const [g, d] = [length(gradient), length(drawn)];
  const sum = gradient.map((value, i) => value / g + drawn[i] / d);
  const total = length(sum);
  return sum.map((value) => value / total);
}

function length(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
