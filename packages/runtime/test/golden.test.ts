/** The golden fixtures made with transformers, through the runtime. */
import { openCheckpoint, openModel, type Model } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { load, loadModel, type LoadOptions } from "../src/index.js";

const MODELS = "../shared/fixtures/models";
const present = existsSync(MODELS);
const variants = present ? readdirSync(MODELS).filter((name) => name.startsWith("llama")) : [];
const DEVICES: LoadOptions[] = [{ threads: 1 }, { threads: 2 }, { device: "reference" }];

interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}

function expectWithin(got: Float32Array, want: Float32Array, { atol, rtol }: Tolerance, what: string): void {
  expect(got.length, what).toBe(want.length);
  let worst = -Infinity;
  got.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - want[i]) - rtol * Math.abs(want[i]))));
  expect(worst, what).toBeLessThanOrEqual(atol);
}

async function withModel<T>(folder: string, body: (model: Model) => Promise<T>): Promise<T> {
  const model = await openModel(await openCheckpointAt(folder));
  try {
    return await body(model);
  } finally {
    await model.close();
  }
}

describe.skipIf(!present)("golden fixtures (skipped where ../shared is absent)", () => {
  it.each(variants)(
    "%s: logits, hidden states and greedy tokens on 1 and 2 threads and the twin",
    async (variant) => {
      const folder = join(MODELS, variant);
      const meta = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8"));
      const golden = await openCheckpointAt(join(folder, "expected.safetensors")).catch(() => undefined);
      const expected =
        golden ?? (await openCheckpoint({ ...(await import("@subbit/core/node")).folderFiles(folder) }));
      const read = async (name: string): Promise<Float32Array> => expected.readF32(name);
      const ids = [...(await read("input_ids"))];
      await withModel(folder, async (model) => {
        for (const device of DEVICES) {
          const runtime = await loadModel(model, undefined, device);
          const what = `${variant} on ${JSON.stringify(device)}`;
          expectWithin(await runtime.logits(ids), await read("logits"), meta.tolerance.logits, what);
          const hidden = await runtime.hidden(ids);
          for (const [i, state] of hidden.entries()) {
            expectWithin(state, await read(`hidden.${i}`), meta.tolerance.hidden, `${what}, hidden.${i}`);
          }
          const greedy = [...(await read("greedy"))];
          const result = await runtime.complete([...(await read("greedy_prompt"))], {
            maxTokens: greedy.length,
          });
          expect(result.ids, what).toEqual(greedy);
          await runtime.dispose();
        }
      });
    },
  );
});

const STORIES = "../shared/reference/stories11m.json";
describe.skipIf(!existsSync(STORIES))("stories-11m (skipped where ../shared is absent)", () => {
  it("continues greedily as transformers does, and scores its first window alike", async () => {
    const reference = JSON.parse(readFileSync(STORIES, "utf8"));
    const model = await load("models/stories-11m", { threads: 2 });
    const { prompt_ids: prompt, ids } = reference.greedy;
    // The reference lists prompt and continuation together or the continuation alone.
    const want: number[] =
      ids.slice(0, prompt.length).join() === prompt.join() ? ids.slice(prompt.length) : ids;
    const result = await model.complete(prompt, { maxTokens: want.length, ignoreEos: true });
    expect(result.ids).toEqual(want);
    await model.dispose();
  });
});
