/** Generation with the shortlist of the head against generation from all logits: the same tokens, one by one. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { loadModel, type GenerateOptions } from "../src/index.js";
import { HeadSketch } from "../src/session/head-sketch.js";
import { tinyModel, type TinyOptions } from "./tiny-models.js";

const SEED = (Date.now() >> 3) & 0xffff;
const PROMPT = [5, 77, 130, 1999];
const TOKENS = 110;

const MODELS: readonly TinyOptions[] = [
  { dtype: "f32", vocab: 2501 },
  { dtype: "f16", vocab: 2048, tied: true },
  { dtype: "bf16", vocab: 2200 },
  { dtype: "i8", vocab: 2100, tied: true },
  { dtype: "i4", vocab: 2300 },
  { dtype: "i2", vocab: 2300, hidden: 38 },
  { dtype: "f16", vocab: 2100, config: { model_type: "gemma2", final_logit_softcapping: 5 } },
];

const SAMPLING: readonly GenerateOptions[] = [
  {},
  { temperature: 0.7, topK: 20 },
  { temperature: 1.2, topK: 50, topP: 0.9 },
  { temperature: 0.5, minP: 0.1 },
  { repeatPenalty: 1.3 },
  { temperature: 0.8, topK: 10, repeatPenalty: 1.1 },
];

afterEach(() => vi.restoreAllMocks());

describe("a shortlist of logits", () => {
  it.each(MODELS)("chooses the tokens that all logits choose: %j", async (options) => {
    const model = (): ReturnType<typeof tinyModel> => tinyModel({ ...options, seed: SEED % 100 });
    const plain = await loadModel(model(), undefined, { threads: 1, shortlist: false });
    for (const threads of [1, 2 + (SEED % 3)]) {
      const short = await loadModel(model(), undefined, { threads, shortlist: true });
      // Several threads: greedy, and one other.
      const runs = threads === 1 ? SAMPLING : [SAMPLING[0], SAMPLING[1 + (SEED % 5)]];
      for (const [i, sampling] of runs.entries()) {
        const run = { ...sampling, seed: SEED + i, maxTokens: TOKENS };
        const want = await plain.complete(PROMPT, run);
        const read = vi.spyOn(HeadSketch.prototype, "read");
        const got = await short.complete(PROMPT, run);
        expect(got.ids, `${threads} threads, ${JSON.stringify(run)}, seed ${SEED}`).toEqual(want.ids);
        // The first tokens of the first run are what directions are learned from.
        expect(read.mock.calls.length).toBeGreaterThan(i === 0 ? 60 : 100);
        read.mockRestore();
      }
      await short.dispose();
    }
    await plain.dispose();
  });

  it("leaves what needs all logits to them", async () => {
    const short = await loadModel(tinyModel({ vocab: 2500 }), undefined, { threads: 1, shortlist: true });
    await short.complete(PROMPT, { maxTokens: 60 });
    const read = vi.spyOn(HeadSketch.prototype, "read");
    for (const sampling of [
      { temperature: 1 },
      { temperature: 1, topP: 0.9 },
      { temperature: 1, topK: 2000 },
      { temperature: 1e7, topK: 3 },
      { repeatPenalty: 0.9 },
    ]) {
      await short.complete(PROMPT, { ...sampling, maxTokens: 5 });
    }
    await short.logits([1, 2, 3]);
    expect(read).not.toHaveBeenCalled();
    await short.dispose();
  });

  it("asks for all logits where min-p needs more than the list has", async () => {
    const options = { temperature: 3, minP: 1e-4, seed: SEED, maxTokens: 30 };
    const results = [];
    for (const shortlist of [false, true]) {
      const model = await loadModel(tinyModel({ vocab: 2500 }), undefined, { threads: 1, shortlist });
      await model.complete(PROMPT, { maxTokens: 60 });
      results.push((await model.complete(PROMPT, options)).ids);
      await model.dispose();
    }
    expect(results[1]).toEqual(results[0]);
  });

  it("is not made where the logits are not finite: the sampler says so", async () => {
    const short = await loadModel(tinyModel({ vocab: 2500 }), undefined, { threads: 1, shortlist: true });
    await short.complete(PROMPT, { maxTokens: 60 });
    vi.spyOn(HeadSketch.prototype, "read").mockReturnValue(undefined);
    const plain = await loadModel(tinyModel({ vocab: 2500 }), undefined, { threads: 1, shortlist: false });
    const run = { maxTokens: 20 };
    // Nothing to be read from a list: every token falls back to all logits.
    expect((await short.complete(PROMPT, run)).ids).toEqual((await plain.complete(PROMPT, run)).ids);
    await short.dispose();
    await plain.dispose();
  });
});
