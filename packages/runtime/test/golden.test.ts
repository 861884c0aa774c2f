/** The golden fixtures made with transformers, through the runtime. */
import { openModel, type Model } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { load, loadModel, type LoadOptions } from "../src/index.js";

const SHARED = process.env.SUBBIT_SHARED ?? "../shared";
const MODELS = join(SHARED, "fixtures/models");
const STORIES = join(SHARED, "reference/stories11m.json");
/** Some of them are kept in the repository, with logits and greedy tokens only. */
const KEPT = "packages/core/test/data/families";
const present = existsSync(MODELS);
const variants = present ? readdirSync(MODELS) : [];
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

describe.skipIf(present)("golden fixtures of this repository (the others where ../shared is present)", () => {
  it.each(readdirSync(KEPT).filter((name) => !name.endsWith(".md")))(
    "%s: logits and greedy tokens",
    async (variant) => {
      const folder = join(KEPT, variant);
      const { tolerance } = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8")) as {
        tolerance: { logits: Tolerance };
      };
      await withModel(folder, async (model) => {
        const runtime = await loadModel(model, undefined, { threads: 1 });
        for (const file of readdirSync(folder).filter((name) => name.startsWith("expected"))) {
          const golden = await openCheckpointAt(join(folder, file));
          const got = await runtime.logits([...(await golden.readF32("input_ids"))]);
          expectWithin(got, await golden.readF32("logits"), tolerance.logits, file);
          const greedy = [...(await golden.readF32("greedy"))];
          const prompt = [...(await golden.readF32("greedy_prompt"))];
          expect((await runtime.complete(prompt, { maxTokens: greedy.length })).ids, file).toEqual(greedy);
          await golden.close();
        }
        await runtime.dispose();
      });
    },
  );
});

describe.skipIf(!present)("golden fixtures (skipped where ../shared is absent)", () => {
  it.each(variants)(
    "%s: logits, hidden states and greedy tokens on 1 and 2 threads and the twin",
    async (variant) => {
      const folder = join(MODELS, variant);
      const { tolerance } = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8")) as {
        tolerance: { logits: Tolerance; hidden: Tolerance };
      };
      const files = readdirSync(folder).filter((name) => /^expected.*safetensors$/.test(name));
      await withModel(folder, async (model) => {
        for (const device of DEVICES) {
          // One after another on the same runtime: a text must not depend on the one before it.
          const runtime = await loadModel(model, undefined, device);
          for (const file of files) {
            const golden = await openCheckpointAt(join(folder, file));
            const ids = [...(await golden.readF32("input_ids"))];
            const greedy = [...(await golden.readF32("greedy"))];
            const what = `${variant}, ${file} on ${JSON.stringify(device)}`;
            expectWithin(await runtime.logits(ids), await golden.readF32("logits"), tolerance.logits, what);
            const hidden = await runtime.hidden(ids);
            expect(hidden.length).toBe(model.spec.layers + 1);
            for (const [i, state] of hidden.entries()) {
              const want = await golden.readF32(`hidden.${i}`);
              expectWithin(state, want, tolerance.hidden, `${what}, hidden.${i}`);
            }
            const prompt = [...(await golden.readF32("greedy_prompt"))];
            expect((await runtime.complete(prompt, { maxTokens: greedy.length })).ids, what).toEqual(greedy);
            await golden.close();
          }
          await runtime.dispose();
        }
      });
    },
  );
});

describe.skipIf(!existsSync(STORIES))("stories-11m (skipped where ../shared is absent)", () => {
  it("continues greedily as transformers does", async () => {
    const { greedy } = JSON.parse(readFileSync(STORIES, "utf8")) as {
      greedy: { prompt_ids: number[]; ids: number[] };
    };
    const model = await load("models/stories-11m", { threads: 2 });
    const want = greedy.ids.slice(greedy.prompt_ids.length);
    const result = await model.complete(greedy.prompt_ids, { maxTokens: want.length, ignoreEos: true });
    expect(result.ids).toEqual(want);
    await model.dispose();
  });
});
