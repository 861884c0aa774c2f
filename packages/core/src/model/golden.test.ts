/** The reference forward pass against the golden fixtures made with transformers. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../checkpoints/open.js";
import { openSafetensors } from "../checkpoints/safetensors/file.js";
import type { FileSet } from "../checkpoints/types.js";
import { tableValues } from "../linears/table.js";
import { fileSource, folderFiles } from "../node/file-source.js";
import { openModel } from "./open-model.js";
import { referenceForward } from "./reference.js";

const SHARED = join(process.env.SUBBIT_SHARED ?? "../shared", "fixtures");
const LOCAL = "packages/core/test/data";
const FAMILIES = join(LOCAL, "families");

interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}

/** The folder with its config.json replaced by another of its files. */
function withConfig(folder: string, configFile: string): FileSet {
  const files = folderFiles(folder);
  return { ...files, open: (name) => files.open(name === "config.json" ? configFile : name) };
}

function expectWithin(got: Float32Array, want: Float32Array, { atol, rtol }: Tolerance, what: string): void {
  expect(got.length, what).toBe(want.length);
  let worst = 0;
  got.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - want[i]) - rtol * Math.abs(want[i]))));
  expect(worst, what).toBeLessThanOrEqual(atol);
}

/** Files of expected values: one, or one on each side of longrope's switch. */
function expectedFiles(folder: string): string[] {
  return readdirSync(folder).filter((name) => /^expected.*\.safetensors$/.test(name));
}

async function compareWithGolden(folder: string, configFile: string): Promise<void> {
  const meta = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8")) as {
    tolerance: { logits: Tolerance; hidden: Tolerance };
  };
  const model = await openModel(await openCheckpoint(withConfig(folder, configFile)));
  for (const file of expectedFiles(folder)) {
    const golden = await openSafetensors(await fileSource(join(folder, file)));
    const ids = [...(await golden.readF32("input_ids"))];
    const output = await referenceForward(model, ids);
    expectWithin(output.logits, await golden.readF32("logits"), meta.tolerance.logits, `${file}, logits`);
    expect(output.hidden.length).toBe(model.spec.layers + 1);
    for (const [i, hidden] of output.hidden.entries()) {
      expectWithin(
        hidden,
        await golden.readF32(`hidden.${i}`),
        meta.tolerance.hidden,
        `${file}, hidden.${i}`,
      );
    }
    await golden.close();
  }
  await model.close();
}

describe("the reference forward pass", () => {
  it("gives the states of transformers for the small Llama kept here", async () => {
    const folder = join(LOCAL, "tiny-llama");
    const golden = await openSafetensors(await fileSource(join(folder, "expected.safetensors")));
    const model = await openModel(await openCheckpoint(folderFiles(folder)));
    const { hidden, logits } = await referenceForward(model, [...(await golden.readF32("input_ids"))]);
    const afterBlock = await golden.readF32("hidden.1");
    const { weight } = await model.norm({ role: "final-norm" });
    const embedding = tableValues(await model.embedding());
    const { hiddenSize: width, vocabSize: vocab } = model.spec;
    const normed = afterBlock.map((value, i) => {
      const row = afterBlock.subarray(i - (i % width), i - (i % width) + width);
      const meanSquare = row.reduce((sum, each) => sum + each * each, 0) / width;
      return (value / Math.sqrt(meanSquare + 1e-5)) * weight[i % width];
    });
    const tolerance = { atol: 2e-4, rtol: 1e-4 };
    expectWithin(hidden[1], normed, tolerance, "hidden.1, normed");
    const wanted = Float32Array.from({ length: logits.length }, (_, i) => {
      const row = normed.subarray(Math.floor(i / vocab) * width);
      let sum = 0;
      for (let k = 0; k < width; k++) sum += row[k] * embedding[(i % vocab) * width + k];
      return sum;
    });
    expectWithin(logits, wanted, { atol: 1e-3, rtol: 1e-4 }, "logits");
    await golden.close();
    await model.close();
  });

  it.each(readdirSync(FAMILIES).filter((name) => !name.endsWith(".md")))(
    "gives transformers' logits and greedy tokens for the %s kept here",
    async (name) => {
      const folder = join(FAMILIES, name);
      const { logits } = (
        JSON.parse(readFileSync(join(folder, "meta.json"), "utf8")) as { tolerance: { logits: Tolerance } }
      ).tolerance;
      const model = await openModel(await openCheckpoint(folderFiles(folder)));
      for (const file of expectedFiles(folder)) {
        const golden = await openSafetensors(await fileSource(join(folder, file)));
        const output = await referenceForward(model, [...(await golden.readF32("input_ids"))]);
        expectWithin(output.logits, await golden.readF32("logits"), logits, file);
        const prompt = [...(await golden.readF32("greedy_prompt"))];
        const greedy = [...(await golden.readF32("greedy"))];
        // Every token follows from those before it, so one pass over all of them tells.
        const all = await referenceForward(model, [...prompt, ...greedy]);
        const { vocabSize } = model.spec;
        // Where longrope changes its factors on the way, a single pass has the long ones throughout.
        const above = model.spec.layerKinds[0].rope?.long?.above ?? Infinity;
        if (prompt.length <= above && prompt.length + greedy.length > above) continue;
        const chosen = greedy.map((_, i) => {
          const at = (prompt.length + i - 1) * vocabSize;
          const row = all.logits.subarray(at, at + vocabSize);
          return row.indexOf(row.reduce((a, b) => Math.max(a, b), -Infinity));
        });
        expect(chosen, file).toEqual(greedy);
        await golden.close();
      }
      await model.close();
    },
  );

  const models = join(SHARED, "models");
  const variants = existsSync(models) ? readdirSync(models) : [];
  const cases = variants.flatMap((name) => [
    { name, config: "config.json" },
    { name, config: "config.v5.json" },
  ]);
  it.skipIf(cases.length === 0).each(cases)(
    "gives transformers' $name with $config",
    async ({ name, config }) => {
      await compareWithGolden(join(models, name), config);
    },
  );

  const ggufs = join(SHARED, "gguf");
  const files = existsSync(ggufs) ? readdirSync(ggufs).filter((name) => /^llama.*\.gguf$/.test(name)) : [];
  /** atol of gguf/meta.json: logits of the dequantised model. */
  const tolerance: Tolerance = { atol: 5e-4, rtol: 1e-4 };
  it.skipIf(files.length === 0).each(files)("gives transformers' logits for %s", async (file) => {
    const golden = await openSafetensors(
      await fileSource(join(ggufs, file.replace(/gguf$/, "expected.safetensors"))),
    );
    const model = await openModel(await openCheckpoint(await fileSource(join(ggufs, file))));
    const { logits } = await referenceForward(model, [...(await golden.readF32("input_ids"))]);
    expectWithin(logits, await golden.readF32("logits"), tolerance, "logits");
    await golden.close();
    await model.close();
  });
});
