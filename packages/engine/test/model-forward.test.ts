/** Whole models through the engine: against core's plain TypeScript forward pass, and against transformers. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openModel, referenceForward } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { describe, expect, it } from "vitest";
import { modelForward } from "../src/index.js";
import { FAMILY_CONFIGS } from "../../core/test/family-configs.js";
import { randomModel, type RandomModelOptions } from "./random-model.js";
import { expectClose } from "./support.js";

/** f32 against the double-precision sums of the reference, over two blocks. */
const REFERENCE_TOLERANCE = 1e-4;

describe("modelForward equals the plain TypeScript forward pass", () => {
  const variants: Record<string, RandomModelOptions> = {
    dense: {},
    "dense with biases": { biases: true },
    "one path with a middle scale (DBF)": { paths: 1 },
    "one path without a middle scale (NanoQuant)": { paths: 1, mid: false },
    "two paths (LittleBit), biases": { paths: 2, biases: true },
    "envelope of rank 3 (MDBF)": { paths: 1, envelope: 3 },
    "envelope of rank 2 without middle scales, two paths": { paths: 2, envelope: 2, mid: false },
    "OneBit, biases": { oneBit: true, biases: true },
    "factored embedding and head": { paths: 1, factoredEnds: true },
  };
  for (const [name, options] of Object.entries(variants)) {
    it(name, async () => {
      const model = randomModel(7, options);
      const ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 28, 0];
      const want = await referenceForward(model, ids);
      const got = await modelForward(model, ids, { hidden: true });
      for (let layer = 0; layer < model.spec.layers; layer++) {
        expectClose(got.hidden[layer], want.hidden[layer], REFERENCE_TOLERANCE);
      }
      expectClose(got.logits, want.logits, REFERENCE_TOLERANCE);
    });
  }

  it.each(Object.entries(FAMILY_CONFIGS))("%s, dense and factored", async (_, config) => {
    for (const options of [{ config }, { config, paths: 2 }]) {
      const model = randomModel(7, options);
      const ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 28, 0];
      const want = await referenceForward(model, ids);
      const got = await modelForward(model, ids, { hidden: true });
      for (let layer = 0; layer < model.spec.layers; layer++) {
        expectClose(got.hidden[layer], want.hidden[layer], REFERENCE_TOLERANCE);
      }
      expectClose(got.logits, want.logits, REFERENCE_TOLERANCE);
      // Positions of the second sequence start anew.
      const twice = await modelForward(model, [...ids, ...ids], { batch: 2 });
      expectClose(twice.logits.subarray(want.logits.length), want.logits, REFERENCE_TOLERANCE);
    }
  });

  it("treats sequences of a batch apart, and works with more tokens than a head chunk", async () => {
    const model = randomModel(8);
    const first = Array.from({ length: 150 }, (_, at) => (at * 7) % 29);
    const second = Array.from({ length: 150 }, (_, at) => (at * 11 + 3) % 29);
    const both = await modelForward(model, [...first, ...second], { batch: 2 });
    const alone = await modelForward(model, second);
    expectClose(both.logits.subarray(150 * 29), alone.logits, REFERENCE_TOLERANCE);
  });

  it("refuses a token outside the vocabulary", async () => {
    await expect(modelForward(randomModel(9), [0, 29])).rejects.toThrow(/outside the vocabulary/);
  });
});

/** The start of a story and its greedy continuation by stories-11m, as transformers computes it. */
const STORY = [
  0, 424, 437, 259, 395, 12, 398, 282, 259, 390, 491, 414, 649, 14, 649, 503, 266, 334, 329, 342, 492, 14,
  526, 333, 12, 649, 391, 259, 352, 492, 14, 313, 411, 266, 334, 329, 308, 14, 199, 1809, 585, 266, 263, 492,
  267, 665, 266, 642, 263,
];
const PROMPT_TOKENS = 12;

it("stories-11m tells its story", async () => {
  const model = await openModel(
    await openCheckpointAt(fileURLToPath(new URL("../../../models/stories-11m", import.meta.url))),
  );
  const { logits } = await modelForward(model, STORY.slice(0, -1));
  const { vocabSize } = model.spec;
  const best = STORY.slice(1).map((_, at) => {
    const row = logits.subarray(at * vocabSize, (at + 1) * vocabSize);
    return row.indexOf(Math.max(...row));
  });
  expect(best.slice(PROMPT_TOKENS - 1)).toEqual(STORY.slice(PROMPT_TOKENS));
  await model.close();
});

const beside = fileURLToPath(new URL("../../../../shared", import.meta.url));
const fixtures = `${process.env.SUBBIT_SHARED ?? beside}/fixtures/models`;
const variants = existsSync(fixtures) ? readdirSync(fixtures) : [];

describe.skipIf(variants.length === 0)(
  "modelForward equals transformers on the golden models (../shared)",
  () => {
    for (const variant of variants) {
      it(variant, async () => {
        const folder = `${fixtures}/${variant}`;
        const meta = JSON.parse(readFileSync(`${folder}/meta.json`, "utf8")) as {
          tolerance: Record<"logits" | "hidden", { atol: number; rtol: number }>;
        };
        const model = await openModel(await openCheckpointAt(folder));
        const check = (
          values: Float32Array,
          want: Float32Array,
          { atol, rtol }: { atol: number; rtol: number },
        ): void => {
          expect(values.length).toBe(want.length);
          const worst = values.reduce((max, value, at) => {
            const target = want[at];
            return Math.max(max, Math.abs(value - target) / (atol + rtol * Math.abs(target)));
          }, 0);
          expect(worst).toBeLessThanOrEqual(1);
        };
        for (const file of readdirSync(folder).filter((name) => /^expected.*safetensors$/.test(name))) {
          const expected = await readExpected(`${folder}/${file}`);
          const ids = Array.from(await expected("input_ids"));
          const got = await modelForward(model, ids, { hidden: true });
          check(got.logits, await expected("logits"), meta.tolerance.logits);
          for (let layer = 0; layer < model.spec.layers; layer++) {
            check(got.hidden[layer], await expected(`hidden.${layer}`), meta.tolerance.hidden);
          }
          check(got.hidden.at(-1) as Float32Array, await expected("pre_norm"), meta.tolerance.hidden);
        }
        await model.close();
      });
    }
  },
);

/** A minimal safetensors reader for F32 and I32, so that this test does not lean on the one it goes with. */
async function readExpected(path: string): Promise<(name: string) => Promise<Float32Array>> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  type Entry = { dtype: string; data_offsets: [number, number] };
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as Record<string, Entry>;
  return (name) => {
    const {
      dtype,
      data_offsets: [begin, end],
    } = header[name];
    const data = bytes.buffer.slice(
      bytes.byteOffset + 8 + headerBytes + begin,
      bytes.byteOffset + 8 + headerBytes + end,
    );
    return Promise.resolve(
      dtype === "F32" ? new Float32Array(data) : Float32Array.from(new Int32Array(data)),
    );
  };
}
