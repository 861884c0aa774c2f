/** Pieces of the pipeline: buffers that move to threads, Gram matrices of inputs, factored embeddings. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Model, tableValues } from "@subbit/core";
import { BlockPrograms } from "@subbit/engine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Factoriser } from "../src/factorise/index.js";
import { planModel } from "../src/index.js";
import { Ledger } from "../src/ledger/ledger.js";
import { FactorisePool } from "../src/pipeline/factorise-pool.js";
import { inputGrams } from "../src/pipeline/input-grams.js";
import { estimateResources } from "../src/pipeline/resources.js";
import { makeStudentEnds } from "../src/pipeline/student-ends.js";
import { ownBuffers } from "../src/pipeline/transfer.js";
import { Random } from "../src/random.js";
import { recipeOf } from "../src/recipe.js";
import { warningsOf } from "../src/run/describe.js";
import { prepareRun } from "../src/run/open-run.js";
import { blockForms, stateFeeds } from "../src/student/feeds.js";
import { MemoryHidden } from "../src/student/hidden-store.js";
import { readDenseBlock, readEnds } from "../src/student/model-state.js";
import { tinyModel, tinyText } from "./tiny-model.js";

const compile = { threads: 1, spin: false };

let model: Model;
beforeAll(async () => {
  model = await tinyModel();
});

function draw(length: number, random: Random): Float32Array {
  return Float32Array.from({ length }, () => 2 * random.next() - 1);
}

describe("the factorisation pool", () => {
  const [rows, cols] = [24, 16];
  const options = { method: "dbf", rank: 5, iterations: 8 } as const;

  it("moves a weight that owns its buffer, copies one that shares it, and gives the same either way", async () => {
    const weight = draw(rows * cols, new Random(4));
    const file = new Float32Array(rows * cols + 2);
    file.set(weight, 2);
    const shared = file.subarray(2);
    const factoriser = new Factoriser();
    const want = await factoriser.factorise(weight, rows, cols, options);
    await factoriser.dispose();
    const pool = new FactorisePool(2);
    try {
      const made = await Promise.all([
        pool.run({ weight, rows, cols, options }),
        pool.run({ weight: shared, rows, cols, options }),
      ]);
      for (const { linear, latents, relError } of made) {
        expect({ linear, latents, relError }).toEqual({
          linear: want.linear,
          latents: want.latents,
          relError: want.relError,
        });
      }
    } finally {
      await pool.close();
    }
    expect(weight.length).toBe(0);
    expect(shared.length).toBe(rows * cols);
  });

  it("stops in the middle of its work when the signal fires", async () => {
    const stop = new AbortController();
    const pool = new FactorisePool(1, stop.signal);
    const job = () =>
      pool.run({
        weight: draw(rows * cols, new Random(1)),
        rows,
        cols,
        options: { ...options, iterations: 1e6 },
      });
    const running = [job(), job()];
    stop.abort();
    for (const one of running) await expect(one).rejects.toMatchObject({ code: "interrupted" });
    await expect(job()).rejects.toMatchObject({ code: "interrupted" });
    await pool.close();
  });

  it("finds buffers at any depth, each once, and none with several views", () => {
    const own = new Float32Array(3);
    const part = new Uint8Array(8).subarray(4);
    expect(ownBuffers({ a: [own, { b: own }], part, text: "x", none: undefined })).toEqual([own.buffer]);
  });
});

describe("inputGrams", () => {
  /** Sums of a few hundred f32 products of order one. */
  const TOLERANCE = 1e-4;

  it("is E[x x^T] of what the norm hands to q, whatever the number of windows at once", async () => {
    const { hiddenSize: width, norm } = model.spec;
    const [count, seqlen] = [5, 7];
    const states = draw(count * seqlen * width, new Random(6));
    const store = new MemoryHidden(count, seqlen * width);
    await store.scatter([0, 1, 2, 3, 4], states);
    const block = await readDenseBlock(model, 0);
    const programs = new BlockPrograms(model.spec, compile);
    const data = { inputs: store, count, seqlen, layer: 0 };
    const grams = await inputGrams(
      { programs, spec: model.spec },
      blockForms(block),
      stateFeeds(block),
      data,
    );
    const again = await inputGrams(
      { programs, spec: model.spec },
      blockForms(block),
      stateFeeds(block),
      data,
    );
    await programs.dispose();
    expect(again).toEqual(grams);
    expect([...grams.keys()].sort()).toEqual(["down", "gate", "o", "q"]);
    expect(grams.get("down")!.length).toBe(model.spec.linearShapes.down.cols ** 2);
    const want = new Float64Array(width * width);
    const weight = block.norms["attention-norm"].weight;
    for (let token = 0; token < count * seqlen; token++) {
      const x = states.subarray(token * width, (token + 1) * width);
      const size = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / width + norm.eps);
      const normed = x.map((value, i) => (value / size) * weight[i]);
      for (let i = 0; i < width; i++) {
        for (let j = 0; j < width; j++) want[i * width + j] += (normed[i] * normed[j]) / (count * seqlen);
      }
    }
    want.forEach((value, i) => expect(Math.abs(grams.get("q")![i] - value)).toBeLessThan(TOLERANCE));
  });
});

describe("makeStudentEnds", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "subbit-ends-"));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it("factorises a tied table once, finds it again, and hands on the values that will be stored", async () => {
    const plan = planModel(model, { bpw: 3, embedMethod: "factored", embedBpw: 3 });
    const teacherEnds = await readEnds(model);
    const kept = teacherEnds.embedding.slice();
    const stages: string[] = [];
    const run = async () => {
      const ledger = await Ledger.open(join(folder, "work"));
      try {
        return await makeStudentEnds({
          model,
          plan,
          recipe: recipeOf("default", { factorise: { iterations: 20 } }),
          seed: 0,
          ledger,
          teacherEnds,
          root: "root",
          compile,
          onProgress: ({ stage }) => stages.push(stage),
        });
      } finally {
        await ledger.close();
      }
    };
    const made = await run();
    const seen = stages.length;
    expect(new Set(stages)).toEqual(new Set(["factorise embeddings"]));
    expect(await run()).toEqual(made);
    expect(stages.length).toBe(seen);
    expect(teacherEnds.embedding).toEqual(kept);
    const { embedding, head, factored } = made.studentEnds;
    expect(head).toBe(embedding);
    expect(factored?.head).toBeUndefined();
    expect(tableValues(factored!.embedding)).toEqual(embedding);
    expect(factored!.embedding.paths[0].rank).toBe(plan.embedding.rank);
    const norm = (values: Float32Array) => Math.hypot(...values);
    const error = norm(embedding.map((value, i) => value - kept[i])) / norm(kept);
    expect(error).toBeLessThan(0.6);
    expect(error).toBeGreaterThan(0.01);
  });
});

describe("prepareRun", () => {
  it("goes without the full metric where only that does not fit, but for who asked for it", async () => {
    const plan = planModel(model, { bpw: 2, allocate: "uniform" });
    const calibration = tinyText(400, 1);
    const [samples, seqlen] = [4, 8];
    const options = { model, out: "unused", calibration, samples, seqlen, tune: "none" } as const;
    const { windows } = await prepareRun(options, plan, tmpdir());
    const batch = 4;
    const memoryLimit = estimateResources(model.spec, plan, windows, "none", batch, 0, false).memoryBytes;
    const narrow = await prepareRun({ ...options, memoryLimit }, plan, tmpdir());
    expect(narrow.recipe.factorise.gram).toBe("diagonal");
    expect(warningsOf(options, narrow)).toEqual([
      expect.stringContaining("full metric of the inputs does not fit"),
    ]);
    const asked = { ...options, memoryLimit, recipe: { factorise: { gram: "full" } } } as const;
    await expect(prepareRun(asked, plan, tmpdir())).rejects.toMatchObject({ code: "resources" });
    expect((await prepareRun(options, plan, tmpdir())).recipe.factorise.gram).toBe("full");
  });
});
