/** The runtime's forward pass against core's reference, on random models of every make, on every device. */
import { referenceForward, type Model } from "@subbit/core";
import { describe, expect, it } from "vitest";
import { planExecution } from "../src/executors/open.js";
import { loadModel, type LoadOptions, type RuntimeModel } from "../src/index.js";
import { buildProgram } from "../src/program/build.js";
import { TileRunner } from "../src/session/tile-runner.js";
import { Arena } from "../src/weights/arena.js";
import { placeModel } from "../src/weights/place-model.js";
import { generator, maxDifference, relativeError } from "./kernel-harness.js";
import { tinyModel, type TinyOptions } from "./tiny-models.js";

const DEVICES: LoadOptions[] = [
  { device: "cpu", threads: 1 },
  { device: "cpu", threads: 2 },
  { device: "cpu", threads: 3 },
  { device: "reference" },
];
const SEED = (Date.now() >> 2) & 0xffff;

function randomIds(count: number, vocab: number): number[] {
  const next = generator(SEED + count);
  return Array.from({ length: count }, () => Math.floor(next() * vocab));
}

/** The logits after each of `ids` as generation computes them: by the pass for a single token. */
async function logitsOneByOne(model: Model, ids: readonly number[]): Promise<Float32Array[]> {
  const plan = await planExecution("cpu", 2);
  const arena = new Arena(plan.shared, 1 << 22);
  const placed = await placeModel(arena, model, { capacity: 64, kvBits: 32 });
  const options = { tile: 32, threads: 2, signBits: 12 } as const;
  const program = buildProgram(arena, model.spec, placed.model, placed, options);
  const executor = plan.open(arena.memory, 2);
  await placed.filler?.prepare(model.checkpoint)(executor, {});
  const runner = new TileRunner(arena.memory, executor, program);
  const logits: Float32Array[] = [];
  for (let t = 1; t <= ids.length; t++) {
    const last = await runner.logitsAfter(ids.slice(0, t), () => undefined);
    if (last instanceof Float32Array) logits.push(last);
  }
  await runner.dispose();
  return logits;
}

/** Runs `body` on every device with the same model. */
async function onDevices<T>(
  options: TinyOptions,
  body: (model: RuntimeModel) => Promise<T>,
  load: LoadOptions = {},
): Promise<T[]> {
  const model = tinyModel(options);
  const results: T[] = [];
  for (const device of DEVICES) {
    const runtime = await loadModel(model, undefined, { ...load, ...device });
    try {
      results.push(await body(runtime));
    } finally {
      await runtime.dispose();
    }
  }
  return results;
}

describe(`forward pass, seed ${SEED}`, () => {
  /** float32 sums against double precision ones over two blocks. */
  const DENSE_TOLERANCE = 2e-5;

  it.each(["f32", "f16", "bf16", "i8", "i4", "i2"] as const)(
    "dense %s: logits and hidden states",
    async (dtype) => {
      const options: TinyOptions = { seed: SEED, dtype, bias: dtype === "f16", tied: dtype === "i8" };
      const ids = randomIds(45, 300);
      const want = await referenceForward(tinyModel(options), ids);
      const results = await onDevices(options, async (model) => ({
        logits: await model.logits(ids),
        hidden: await model.hidden(ids),
      }));
      for (const { logits, hidden } of results) {
        expect(maxDifference(logits, want.logits)).toBeLessThan(DENSE_TOLERANCE * 10);
        expect(hidden.length).toBe(3);
        hidden.forEach((state, i) =>
          expect(maxDifference(state, want.hidden[i])).toBeLessThan(DENSE_TOLERANCE * 10),
        );
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    },
  );

  it.each([
    [{ rank: 24, paths: 1, envelope: 1, mid: true }],
    [{ rank: 17, paths: 2, envelope: 1, mid: true }],
    [{ rank: 40, paths: 1, envelope: 1, mid: false }],
    [{ rank: 9, paths: 3, envelope: 2, mid: true }],
    [{ rank: 33, paths: 2, envelope: 4, mid: true }],
    [{ rank: 30, paths: 1, envelope: 8, mid: false }],
    [{ rank: 12, more: 9, paths: 3, envelope: 1, mid: true }],
  ])(
    "factored %j: near the reference, and the same bits on 1, 2 and 3 threads and from the twin",
    async (factored) => {
      for (const bias of [false, true]) {
        const options: TinyOptions = { seed: SEED, factored, bias };
        const ids = randomIds(37, 300);
        const want = await referenceForward(tinyModel(options), ids);
        const results = await onDevices(options, async (model) => ({
          logits: await model.logits(ids),
          greedy: (await model.complete(ids, { maxTokens: 30 })).ids,
        }));
        // 12-bit group sums through all products of two blocks: 1.5e-3 measured.
        const tolerance = 4e-3;
        for (const { logits } of results) expect(relativeError(logits, want.logits)).toBeLessThan(tolerance);
        expect(results[1]).toEqual(results[0]);
        expect(results[2]).toEqual(results[0]);
        expect(results[3]).toEqual(results[0]);
      }
    },
  );

  it("does not depend on how the text is cut into tiles, nor on what was computed before", async () => {
    for (const factored of [undefined, { rank: 24, paths: 2, envelope: 1, mid: true }]) {
      const model = tinyModel({ seed: SEED, ...(factored && { factored }) });
      const ids = randomIds(50, 300);
      const outputs: Float32Array[] = [];
      for (const tileTokens of [1, 7, 32, 64]) {
        const runtime = await loadModel(model, undefined, { threads: 2, tileTokens });
        await runtime.complete(randomIds(20, 300), { maxTokens: 3 });
        outputs.push(await runtime.logits(ids));
        await runtime.dispose();
      }
      for (const output of outputs) expect(output).toEqual(outputs[0]);
    }
  });

  it("gives from a position on the bits of the whole text, whatever the cache holds", async () => {
    for (const factored of [undefined, { rank: 24, paths: 2, envelope: 1, mid: true }]) {
      const model = tinyModel({ seed: SEED, ...(factored && { factored }) });
      const runtime = await loadModel(model, undefined, { threads: 1, tileTokens: 16 });
      const prefix = randomIds(30, 300);
      const texts = [5, 1, 21].map((more) => [...prefix, ...randomIds(more, 300)]);
      // Left by the program for single tokens, whose sums are rounded otherwise.
      await runtime.complete(prefix.slice(0, 3), { maxTokens: 2 });
      await runtime.complete(texts[0].slice(0, 4), { maxTokens: 1 });
      const parts: { text: number[]; from: number; logits: number[] }[] = [];
      for (const [text, from] of [
        [texts[0], 29],
        [texts[1], 30],
        [texts[2], 12],
        [texts[0], 0],
        [texts[2], 50],
      ] as const) {
        const logits: number[] = [];
        for await (const tile of runtime.tiles(text, undefined, from)) {
          expect(tile.position).toBe(from + logits.length / 300);
          logits.push(...tile.logits);
        }
        parts.push({ text, from, logits });
      }
      for (const { text, from, logits } of parts) {
        runtime.reset();
        expect(Float32Array.from(logits)).toEqual((await runtime.logits(text)).subarray(from * 300));
      }
      await expect(runtime.tiles(prefix, undefined, 31).next()).rejects.toThrow(/from position 31/);
      await runtime.dispose();
    }
  });

  /** Sums of signs are rounded to 12 bits for one token, to 16 bits of a block's total for many: each within 6e-4. */
  const SIGN_PATHS = 4e-3;
  /** Of single positions around that error. */
  const SCATTER = 3;

  it.each([
    [undefined, DENSE_TOLERANCE],
    [{ rank: 24, paths: 2, envelope: 1, mid: true }, SIGN_PATHS],
    [{ rank: 100, paths: 1, envelope: 1, mid: false }, SIGN_PATHS],
  ])(
    "token by token equals tiles within the stated error at every position: %j",
    async (factored, tolerance) => {
      const model = tinyModel({ seed: SEED, ...(factored && { factored }) });
      const ids = randomIds(40, 300);
      const runtime = await loadModel(model, undefined, { threads: 1, tileTokens: 32 });
      const tiled = await runtime.logits(ids);
      await runtime.dispose();
      const single = await logitsOneByOne(model, ids);
      for (let t = 0; t < ids.length; t++) {
        const want = tiled.subarray(t * 300, (t + 1) * 300);
        expect(relativeError(single[t], want), `position ${t}`).toBeLessThan(SCATTER * tolerance);
      }
      expect(relativeError(Float32Array.from(single.flatMap((row) => [...row])), tiled)).toBeLessThan(
        tolerance,
      );
    },
  );

  it("serves two texts in turns", async () => {
    const runtime = await loadModel(tinyModel({ seed: SEED }), undefined, { threads: 1 });
    const [a, b] = [randomIds(20, 300), randomIds(33, 300)];
    const alone = [
      await runtime.complete(a, { maxTokens: 12 }),
      await runtime.complete(b, { maxTokens: 12 }),
    ];
    const together = await Promise.all([
      runtime.complete(a, { maxTokens: 12 }),
      runtime.complete(b, { maxTokens: 12 }),
      runtime.logits(a),
    ]);
    expect(together[0].ids).toEqual(alone[0].ids);
    expect(together[1].ids).toEqual(alone[1].ids);
    expect(together[2]).toEqual(await runtime.logits(a));
    await runtime.dispose();
  });
});
