/** Block programs: gradients of tiny dense and factored blocks against central differences, and calibration sums. */
import { LINEAR_ROLES, modelSpec } from "@subbit/core";
import { describe, expect, it } from "vitest";
import {
  blockFeeds,
  blockGraph,
  blockProgram,
  BlockPrograms,
  DENSE_FORMS,
  feedNames,
  loadBlock,
  type BlockForms,
  type BlockMode,
  type FeedKind,
  type LinearForm,
  type Program,
  type Results,
} from "../src/index.js";
import { reachable } from "../src/graph/graph.js";
import { FAMILY_CONFIGS } from "../../core/test/family-configs.js";
import { randomModel, tinySpec, type RandomModelOptions } from "./random-model.js";
import { expectClose, randomNormal, randomSource } from "./support.js";

const SHAPE = { batch: 2, tokens: 3, layer: 0 };
/** Longer than every window of the family configs. */
const FAMILY_SHAPE = { batch: 2, tokens: 6 };
const ALL: readonly FeedKind[] = ["weight", "bias", "signs", "scales", "norm"];

/** f32 sums over 72 outputs of order ten, divided by a step of 1e-2. */
const STEP = 1e-2;
const TOLERANCE = 2e-2;

async function setup(
  options: RandomModelOptions,
  mode: BlockMode,
  kinds: readonly FeedKind[],
  shape: { batch: number; tokens: number; layer: number } = SHAPE,
): Promise<{ program: Program; feeds: Record<string, Float32Array>; trainable: string[] }> {
  const model = randomModel(21, options);
  const { forms, feeds } = await loadBlock(model, shape.layer);
  const trainable = feedNames(blockFeeds(model.spec, forms), kinds);
  const program = await blockProgram(model.spec, forms, { ...shape, mode, trainable });
  const random = randomSource(5);
  const size = shape.batch * shape.tokens * model.spec.hiddenSize;
  const drawn = {
    hidden: randomNormal(size, random),
    dOut: randomNormal(size, random),
    target: randomNormal(size, random),
    importance: Float32Array.from({ length: model.spec.hiddenSize }, () => 0.5 + random()),
  };
  const own = Object.entries(drawn).filter(([name]) => program.inputs.has(name));
  return { program, feeds: { ...feeds, ...Object.fromEntries(own) }, trainable };
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, at) => sum + value * b[at], 0);
}

/** Checks the gradient of `loss` for every feed along three random directions and at a few single elements. */
async function checkFeeds(
  names: readonly string[],
  feeds: Record<string, Float32Array>,
  grads: (name: string) => Float32Array,
  loss: () => Promise<number>,
): Promise<void> {
  const random = randomSource(77);
  for (const name of names) {
    const values = feeds[name];
    const grad = grads(name);
    expect(grad.length).toBe(values.length);
    const directions = [0, 1, 2].map(() => randomNormal(values.length, random));
    for (let probe = 0; probe < 3; probe++) {
      const unit = new Float32Array(values.length);
      unit[Math.floor(random() * values.length)] = 1;
      directions.push(unit);
    }
    for (const direction of directions) {
      const norm = Math.sqrt(dot(direction, direction));
      const original = values.slice();
      const at = async (step: number): Promise<number> => {
        original.forEach((value, index) => {
          values[index] = value + (step * direction[index]) / norm;
        });
        const result = await loss();
        values.set(original);
        return result;
      };
      const want = ((await at(STEP)) - (await at(-STEP))) / (2 * STEP);
      const got = dot(grad, direction) / norm;
      expect(Math.abs(got - want), `${name}: ${got} against ${want}`).toBeLessThan(
        TOLERANCE * Math.max(1, Math.abs(want)),
      );
    }
  }
}

const variants: Record<string, { options: RandomModelOptions; kinds: readonly FeedKind[] }> = {
  "dense, biases": { options: { biases: true }, kinds: ALL },
  "one path, everything trained": { options: { paths: 1, biases: true }, kinds: ALL },
  "one path, scales and norms only": { options: { paths: 1 }, kinds: ["scales", "norm"] },
  "two paths without middle scale, scales only": { options: { paths: 2, mid: false }, kinds: ["scales"] },
  "two paths, everything": { options: { paths: 2 }, kinds: ALL },
  "envelope of rank 2": { options: { paths: 1, envelope: 2 }, kinds: ALL },
  "envelope of rank 4, two paths of unequal rank": { options: { paths: 2, envelope: 4 }, kinds: ALL },
  "envelope of rank 2 without middle scales": { options: { paths: 2, envelope: 2, mid: false }, kinds: ALL },
  "envelope of rank 2, scales only": { options: { paths: 2, envelope: 2 }, kinds: ["scales"] },
  "OneBit, everything, biases": { options: { oneBit: true, biases: true }, kinds: ALL },
  "OneBit, scales and norms only": { options: { oneBit: true }, kinds: ["scales", "norm"] },
};

describe("backward programs", () => {
  for (const [name, { options, kinds }] of Object.entries(variants)) {
    it(name, async () => {
      const { program, feeds, trainable } = await setup(options, "backward", kinds);
      const forward = await setup(options, "forward", []);
      const { dOut, ...forwardFeeds } = feeds;
      const results = await program.run(feeds);
      const loss = async (): Promise<number> => dot((await forward.program.run(forwardFeeds))["out"], dOut);
      const grads = (feed: string): Float32Array => results[feed === "hidden" ? "dHidden" : `grad.${feed}`];
      await checkFeeds(["hidden", ...trainable], feeds, grads, loss);
      await program.dispose();
      await forward.program.dispose();
    });
  }
});

describe("backward programs of every family", () => {
  for (const [name, config] of Object.entries(FAMILY_CONFIGS)) {
    it.each([0, 1])(`${name}, layer %i`, async (layer) => {
      const shape = { ...FAMILY_SHAPE, layer };
      const { program, feeds, trainable } = await setup({ config }, "backward", ALL, shape);
      const forward = await setup({ config }, "forward", [], shape);
      const { dOut, ...forwardFeeds } = feeds;
      const results = await program.run(feeds);
      const loss = async (): Promise<number> => dot((await forward.program.run(forwardFeeds))["out"], dOut);
      const grads = (feed: string): Float32Array => results[feed === "hidden" ? "dHidden" : `grad.${feed}`];
      await checkFeeds(["hidden", ...trainable], feeds, grads, loss);
      await program.dispose();
      await forward.program.dispose();
    });
  }
});

describe("training scales alone", () => {
  const products = (options: RandomModelOptions, kinds: readonly FeedKind[]): number => {
    const spec = tinySpec();
    const ranks = Array.from({ length: options.paths ?? 0 }, (_, path) => 5 + path);
    const { mid = true, envelope = 1 } = options;
    const form: LinearForm = options.oneBit
      ? { kind: "onebit" }
      : { kind: "factored", ranks, mid, ...(envelope > 1 && { envelope }) };
    const forms = { ...DENSE_FORMS, down: form };
    const trainable = feedNames(
      blockFeeds(spec, forms).filter(({ role }) => role === "down"),
      kinds,
    );
    const graph = blockGraph(spec, forms, { ...SHAPE, mode: "backward", trainable });
    return reachable([...graph.outputs.values()]).filter(({ op }) => op === "matmul").length;
  };

  /** Products beyond those that the gradient of the block's input takes, which needs no forward pass through `down`. */
  const own = (options: RandomModelOptions, kinds: readonly FeedKind[]): number =>
    products(options, kinds) - products(options, []);

  it("takes the forward products and none for the gradient of signs where scales meet the activations", () => {
    expect(own({ paths: 1 }, ["scales"])).toBe(2);
    expect(own({ paths: 1, mid: false }, ["scales"])).toBe(2);
    // The way back through OneBit's norm needs the forward product anyway.
    expect(own({ oneBit: true }, ["scales"])).toBe(0);
    expect(own({ oneBit: true }, ["signs", "scales"])).toBe(1);
    // Signs: the inner product, and one for the gradient of each factor.
    expect(own({ paths: 1 }, ["signs", "scales"])).toBe(1 + 2);
  });

  it("of envelopes takes one product a factor, however high the envelopes' rank", () => {
    // The inner product, the gradients of both factors, and a small product for each vector of the envelopes.
    expect(own({ paths: 1, envelope: 2 }, ["scales"])).toBe(1 + 2 + 4);
    expect(own({ paths: 1, envelope: 4 }, ["scales"])).toBe(1 + 2 + 4);
  });
});

describe("tune programs", () => {
  it("loss is the weighted mean square, and its gradients are those of finite differences", async () => {
    const { program, feeds, trainable } = await setup({ paths: 1 }, "tune", ALL);
    const forward = await setup({ paths: 1 }, "forward", []);
    const results = await program.run(feeds);
    const { target, importance, ...rest } = feeds as Record<"target" | "importance", Float32Array>;
    const out = (await forward.program.run(rest))["out"];
    const width = importance.length;
    const want = out.reduce(
      (sum, value, at) => sum + (importance[at % width] * (value - target[at]) ** 2) / out.length,
      0,
    );
    expectClose(results["loss"], [want], 1e-4);
    const loss = async (): Promise<number> => (await program.run(feeds))["loss"]?.[0];
    await checkFeeds(trainable, feeds, (feed) => results[`grad.${feed}`], loss);
    await program.dispose();
    await forward.program.dispose();
  });
});

describe("calibrate programs", () => {
  it("returns the squares of each linear's inputs and output gradients", async () => {
    const model = randomModel(31, {});
    const { spec } = model;
    const { feeds } = await loadBlock(model, 0);
    const random = randomSource(3);
    const size = SHAPE.batch * SHAPE.tokens * spec.hiddenSize;
    const [hidden, dOut] = [randomNormal(size, random), randomNormal(size, random)];
    const run = async (
      mode: BlockMode,
      extra: Record<string, Float32Array>,
      gram = false,
    ): Promise<Results> => {
      const trainable =
        mode === "backward" ? feedNames(blockFeeds(spec, DENSE_FORMS), ["weight", "norm"]) : [];
      const program = await blockProgram(spec, DENSE_FORMS, { ...SHAPE, mode, trainable, gram });
      const results = await program.run({ ...feeds, hidden, ...extra });
      await program.dispose();
      return results;
    };
    const both = await run("calibrate", { dOut }, true);
    const forward = await run("calibrate-forward", {});
    const backward = await run("backward", { dOut });
    expectClose(both["dHidden"], backward["dHidden"]);
    for (const role of LINEAR_ROLES) {
      const { cols, rows } = spec.linearShapes[role];
      const squares = both[`inputSquares.${role}`];
      expectClose(forward[`inputSquares.${role}`], squares);
      const gram = both[`inputGram.${role}`];
      expectClose(
        Array.from({ length: cols }, (_, at) => gram[at * cols + at]),
        squares,
        1e-4,
      );
      expect(both[`outputGradSquares.${role}`].length).toBe(rows);
    }
    // The block's output is hidden + ... + down(...), so down's output gradient is dOut itself.
    const down = new Float32Array(spec.hiddenSize);
    dOut.forEach((value, at) => (down[at % spec.hiddenSize] = down[at % spec.hiddenSize] + value * value));
    expectClose(both["outputGradSquares.down"], down, 1e-4);
    // Inputs of q, k and v are the normalised hidden states.
    const norm = feeds["attention-norm.weight"];
    const want = new Float32Array(spec.hiddenSize);
    for (let row = 0; row < size; row += spec.hiddenSize) {
      const x = hidden.subarray(row, row + spec.hiddenSize);
      const inverse = 1 / Math.sqrt(dot(x, x) / spec.hiddenSize + spec.norm.eps);
      x.forEach((value, at) => (want[at] = want[at] + (value * inverse * norm[at]) ** 2));
    }
    for (const role of ["q", "k", "v"]) expectClose(both[`inputSquares.${role}`], want, 1e-4);
  });
});

describe("BlockPrograms", () => {
  it("compiles equal keys once and disposes the least recently used", async () => {
    const programs = new BlockPrograms(tinySpec(), { limit: 2 });
    const forms = (rank: number): BlockForms => ({
      ...DENSE_FORMS,
      q: { kind: "factored", ranks: [rank], mid: true },
    });
    const key = { ...SHAPE, mode: "forward" as const };
    const first = await programs.get(forms(3), key);
    expect(await programs.get(forms(3), key)).toBe(first);
    const second = await programs.get(forms(4), key);
    expect(second).not.toBe(first);
    await programs.get(forms(3), key);
    await programs.get(forms(5), key);
    expect(await programs.get(forms(3), key)).toBe(first);
    expect(await programs.get(forms(4), key)).not.toBe(second);
    await programs.dispose();
  });

  it("tells layers of different kinds apart, and shares programs among layers of one", async () => {
    const spec = modelSpec({ ...FAMILY_CONFIGS.gemma2, num_hidden_layers: 3 });
    const programs = new BlockPrograms(spec);
    const at = (layer: number) => programs.get(DENSE_FORMS, { batch: 1, tokens: 4, mode: "forward", layer });
    expect(await at(2)).toBe(await at(0));
    expect(await at(1)).not.toBe(await at(0));
    await programs.dispose();
  });
});
