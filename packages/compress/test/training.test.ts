import { denseValues, LINEAR_ROLES, type Model } from "@subbit/core";
import { BlockPrograms } from "@subbit/engine";
import { beforeAll, describe, expect, it } from "vitest";
import { calibrate, momentsFromArtefact, momentsToArtefact } from "../src/calibrate/calibrate.js";
import { firstWindows, gatherWindows, type Windows } from "../src/calibrate/windows.js";
import { distil } from "../src/distil/distil.js";
import type { DistilSnapshot, DistilTask } from "../src/distil/types.js";
import { Factoriser } from "../src/factorise/index.js";
import { LatentSteps } from "../src/optimise/latent-step.js";
import { LATENT_LIMIT } from "../src/optimise/latent-stepper.js";
import { recipeOf } from "../src/recipe.js";
import { blockForms, stateFeeds } from "../src/student/feeds.js";
import { stateOfFactorised } from "../src/student/from-factorised.js";
import { MemoryHidden } from "../src/student/hidden-store.js";
import type { LinearState } from "../src/student/linear-state.js";
import {
  embed,
  type EndsState,
  type ModelState,
  readDenseBlock,
  readEnds,
} from "../src/student/model-state.js";
import { type BlockState, blockArrays, copyBlock } from "../src/student/state.js";
import { TeacherBlocks } from "../src/student/teacher-blocks.js";
import { trainBlock } from "../src/tune/train-block.js";
import { copyOf } from "./snapshots.js";
import { tinyModel, tinyText } from "./tiny-model.js";

const compile = { threads: 1, spin: false };
const RANK = 12;

let model: Model;
let ends: EndsState;
let windows: Windows;
let blocks: BlockState[];
let hidden: MemoryHidden[];

/** Teacher states entering each block and leaving the last, and every block factorised. */
beforeAll(async () => {
  model = await tinyModel();
  ends = await readEnds(model);
  windows = firstWindows(tinyText(6 * 20), 20);
  const { spec } = model;
  const factoriser = new Factoriser();
  const programs = new BlockPrograms(spec, compile);
  let states = embed(spec, ends, windows.ids, 20);
  blocks = [];
  hidden = [await stored(states)];
  for (let layer = 0; layer < spec.layers; layer++) {
    const dense = await readDenseBlock(model, layer);
    const program = await programs.get(blockForms(dense), {
      mode: "forward",
      layer,
      batch: windows.count,
      tokens: 20,
    });
    states = (await program.run({ ...stateFeeds(dense), hidden: states }))["out"]!;
    hidden.push(await stored(states));
    const linears = { ...dense.linears } as Record<(typeof LINEAR_ROLES)[number], LinearState>;
    for (const role of LINEAR_ROLES) {
      const linear = dense.linears[role];
      if (linear.kind !== "dense") continue;
      const made = await factoriser.factorise(linear.weight, linear.rows, linear.cols, {
        method: "dbf",
        rank: RANK,
        iterations: 30,
      });
      linears[role] = stateOfFactorised(made);
    }
    blocks.push({ linears, norms: copyBlock(dense).norms });
  }
  await programs.dispose();
  await factoriser.dispose();
});

async function stored(states: Float32Array): Promise<MemoryHidden> {
  const store = new MemoryHidden(windows.count, 20 * model.spec.hiddenSize);
  await store.scatter(
    Array.from({ length: windows.count }, (_, i) => i),
    states,
  );
  return store;
}

function task(change: Partial<DistilTask["recipe"]> = {}, steps = 12): DistilTask {
  const student: ModelState = {
    blocks: blocks.map((block) => copyBlock(block)),
    ends: { ...ends, finalNorm: { weight: ends.finalNorm!.weight.slice() } },
  };
  return {
    spec: model.spec,
    student,
    teacher: ends,
    teacherHidden: hidden.at(-1)!,
    windows,
    recipe: { ...recipeOf("default").full, batch: 2, ...change },
    steps,
    seed: 0,
  };
}

describe("calibrate", () => {
  it("averages what single windows give, and agrees with moments computed by hand", async () => {
    const teacher = new TeacherBlocks(model, true);
    const all = await calibrate(model, teacher, ends, windows, compile);
    const single = await Promise.all(
      Array.from({ length: windows.count }, (_, i) =>
        calibrate(model, teacher, ends, { ...windows, ids: gatherWindows(windows, [i]), count: 1 }, compile),
      ),
    );
    for (const [layer, block] of all.entries()) {
      for (const role of LINEAR_ROLES) {
        for (const kind of ["inputSquares", "outputGradSquares"] as const) {
          const means = block[role][kind];
          means.forEach((mean, i) => {
            const direct = single.reduce((sum, one) => sum + one[layer][role][kind][i], 0) / windows.count;
            expect(Math.abs(mean - direct)).toBeLessThanOrEqual(1e-4 * direct + 1e-9);
          });
        }
      }
    }
    const { inputs, outputs } = await momentsByHand();
    inputs.forEach((mean, i) => expect(all[0].q.inputSquares[i]).toBeCloseTo(mean, 4));
    outputs.forEach((mean, i) => {
      expect(Math.abs(all.at(-1)!.down.outputGradSquares[i] - mean)).toBeLessThan(1e-3 * mean);
    });
    expect(momentsFromArtefact(model.spec, momentsToArtefact(all))).toEqual(all);
  });
});

/** Of the first block's q inputs (a norm of the embedding) and the last block's outputs (softmax, head and norm back). */
async function momentsByHand(): Promise<{ inputs: Float64Array; outputs: Float64Array }> {
  const { hiddenSize: width, vocabSize, norm } = model.spec;
  const weight = (await model.norm({ layer: 0, role: "attention-norm" })).weight;
  const states = await hidden.at(-1)!.gather(Array.from({ length: windows.count }, (_, i) => i));
  const table = denseValues(await model.embedding());
  const [inputs, outputs] = [new Float64Array(width), new Float64Array(width)];
  windows.ids.forEach((id, t) => {
    const x = table.subarray(id * width, (id + 1) * width);
    const size = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / width + norm.eps);
    for (let i = 0; i < width; i++) inputs[i] += ((x[i] / size) * weight[i]) ** 2 / windows.ids.length;
    if (t % windows.seqlen === windows.seqlen - 1) return;
    const h = states.subarray(t * width, (t + 1) * width);
    const rms = Math.sqrt(h.reduce((sum, value) => sum + value * value, 0) / width + norm.eps);
    const n = Array.from(h, (value) => value / rms);
    const { head } = ends;
    const finalNorm = ends.finalNorm!;
    const dot = (token: number) =>
      n.reduce((sum, value, i) => sum + value * finalNorm.weight[i] * head[token * width + i], 0);
    const logits = Array.from({ length: vocabSize }, (_, token) => dot(token));
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    const g = new Float64Array(width);
    logits.forEach((logit, token) => {
      const error = Math.exp(logit) / total - Number(token === windows.ids[t + 1]);
      for (let i = 0; i < width; i++) g[i] += error * head[token * width + i] * finalNorm.weight[i];
    });
    const along = g.reduce((sum, value, i) => sum + value * n[i], 0) / width;
    for (let i = 0; i < width; i++) outputs[i] += ((g[i] - n[i] * along) / rms) ** 2 / windows.ids.length;
  });
  return { inputs, outputs };
}

describe("distil", () => {
  it.each([
    ["scales and norms alone", { latents: 0, scales: 0.03, norms: 0.01 }],
    ["signs alone", { latents: 0.02, scales: 0, norms: 0 }],
  ])("lowers the divergence by %s", async (_, rates) => {
    const { lossBefore, lossAfter } = await distil(task({ rates }, 30), compile);
    expect(lossAfter).toBeLessThan(0.95 * lossBefore);
  });

  it("gives the same state whether or not it was stopped on the way", async () => {
    const whole = task({}, 8);
    await distil(whole, compile);
    let saved: DistilSnapshot | undefined;
    const stop = new AbortController();
    const first = distil(task({}, 8), {
      ...compile,
      signal: stop.signal,
      onStep: ({ step }) => {
        if (step === 5) stop.abort();
      },
      snapshot: (state) => {
        saved = copyOf(state);
        return Promise.resolve();
      },
    });
    await expect(first).rejects.toMatchObject({ code: "interrupted" });
    expect(saved!.step).toBe(5);
    const resumed = task({}, 8);
    await distil(resumed, { ...compile, from: saved! });
    for (const [layer, block] of whole.student.blocks.entries()) {
      expect(blockArrays(resumed.student.blocks[layer])).toEqual(blockArrays(block));
    }
  });

  it("moves scales and norms against the finite-difference gradient of the divergence", async () => {
    // Adam's first step is the rate times the gradient's sign, so the direction of every parameter can be checked.
    const all = { batch: windows.count };
    const trained = task({ ...all, rates: { latents: 0, scales: 1e-4, norms: 1e-4 } }, 1);
    await distil(trained, compile);
    const loss = async (change: (student: ModelState) => void) => {
      const moved = task({ ...all, rates: { latents: 0, scales: 0, norms: 0 } }, 1);
      change(moved.student);
      return (await distil(moved, compile)).losses[0];
    };
    let checked = 0;
    for (const layer of [0, 1]) {
      for (const name of [
        "q.paths.0.midScales",
        "down.paths.0.outScales",
        "gate.paths.0.inScales",
        "mlp-norm.weight",
      ]) {
        for (const i of [0, 5]) {
          const start = blockArrays(blocks[layer]).get(name)!;
          const h = (0.02 * start.reduce((sum, value) => sum + Math.abs(value), 0)) / start.length;
          const at = (sign: number) =>
            loss((student) => (blockArrays(student.blocks[layer]).get(name)![i] += sign * h));
          const slope = ((await at(1)) - (await at(-1))) / 2;
          // Differences near the rounding of the loss say nothing.
          if (Math.abs(slope) < 2e-5) continue;
          const moved = blockArrays(trained.student.blocks[layer]).get(name)![i] - start[i];
          expect(Math.sign(moved)).toBe(-Math.sign(slope));
          checked++;
        }
      }
    }
    expect(checked).toBeGreaterThan(6);
  });
});

describe("trainBlock", () => {
  it.each([
    ["sane", 0.02],
    ["absurd", 50],
  ])("never worsens the block's loss, at %s rates", async (_, rate) => {
    const programs = new BlockPrograms(model.spec, compile);
    const latentSteps = new LatentSteps(
      { surrogate: { kind: "tanh", width: 1 }, limit: LATENT_LIMIT },
      compile,
    );
    const data = {
      inputs: hidden[0],
      targets: hidden[1],
      importance: new Float32Array(model.spec.hiddenSize).fill(1),
      count: windows.count,
      seqlen: windows.seqlen,
      layer: 0,
    };
    const before = blockArrays(copyBlock(blocks[0]));
    const trained = await trainBlock(model.spec, blocks[0], data, programs, latentSteps, {
      ...recipeOf("default").blocks,
      epochs: 6,
      batch: 2,
      rates: { latents: rate, scales: rate, norms: rate, weights: 0 },
      seed: 0,
    });
    expect(trained.lossAfter).toBeLessThanOrEqual(trained.lossBefore);
    if (rate < 1) expect(trained.lossAfter).toBeLessThan(0.9 * trained.lossBefore);
    else expect(trained.state).toBe(blocks[0]);
    expect(blockArrays(blocks[0])).toEqual(before);
    await programs.dispose();
    await latentSteps.dispose();
  });
});
