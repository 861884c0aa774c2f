import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { modelForward } from "@subbit/engine";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { compress, type CompressOptions, type CompressResult } from "../src/index.js";
import { Random } from "../src/random.js";
import { tinyModel, tinyText } from "./tiny-model.js";

/** Small budgets: seconds, not quality, matter here. */
const RECIPE = {
  factorise: { iterations: 20 },
  blocks: { epochs: 1, denseEpochs: 1, batch: 2 },
  full: { epochs: 3, batch: 2 },
  scales: { epochs: 2, batch: 2 },
} satisfies CompressOptions["recipe"];

describe("compress", () => {
  let folder: string;
  let base: CompressOptions;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "subbit-compress-"));
    base = {
      model: await tinyModel(),
      out: join(folder, "out"),
      calibration: tinyText(400),
      samples: 8,
      seqlen: 24,
      bpw: 3,
      threads: 1,
      recipe: RECIPE,
    };
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it.each(["none", "blocks", "scales", "full"] as const)(
    "makes a model that opens and runs with --tune %s",
    async (tune) => {
      const result = await compress({ ...base, tune, evaluation: { ...tinyText(200, 3), seqlen: 24 } });
      expect((await readdir(folder)).sort()).toEqual(["out"]);
      const model = await openModel(await openCheckpointAt(base.out));
      const { logits } = await modelForward(model, [1, 2, 3], { threads: 1 });
      expect(logits.every(Number.isFinite)).toBe(true);
      const size = (await readFile(join(base.out, "model.safetensors"))).length;
      expect(result.fileBytes).toBe(size);
      expect(result.plan.totals.fileBytes).toBe(size);
      expect(result.bpw).toBeLessThanOrEqual(3);
      for (const stage of result.stages) {
        if (stage.lossBefore !== undefined) expect(stage.lossAfter).toBeLessThanOrEqual(stage.lossBefore);
      }
      if (tune === "full") {
        const { lossBefore, lossAfter } = result.stages.find((stage) => stage.stage === "full")!;
        expect(lossAfter).toBeLessThan(0.9 * lossBefore!);
      }
      await model.close();
    },
  );

  it.each<[string, Partial<CompressOptions>, number]>([
    ["rows of an embedding", { recipe: RECIPE }, 20],
    [
      "envelopes in the full metric, a factored embedding",
      {
        method: "mdbf",
        envelope: 2,
        bpw: 5,
        embedMethod: "factored",
        embedBpw: 3,
        recipe: { ...RECIPE, factorise: { ...RECIPE.factorise, gram: "full" } },
      },
      20,
    ],
  ])(
    "gives equal bytes twice, and after any number of interruptions and damaged files: %s",
    async (_, change, calm) => {
      const options = {
        ...base,
        ...change,
        tune: "full",
        recipe: { ...change.recipe, blocks: { ...RECIPE.blocks, beforeFull: true } },
      } as const;
      await compress(options);
      const whole = await folderHash(base.out);
      await rm(base.out, { recursive: true });
      await compress(options);
      expect(await folderHash(base.out)).toBe(whole);
      await rm(base.out, { recursive: true });

      const random = new Random(7);
      const work = join(folder, "work");
      let interruptions = 0;
      for (;;) {
        const controller = new AbortController();
        let events = calm + random.nextInt(90);
        try {
          const onProgress = () => {
            if (--events === 0) controller.abort();
          };
          await compress({ ...options, work, signal: controller.signal, onProgress });
          break;
        } catch (error) {
          expect(error).toMatchObject({ code: "interrupted" });
          interruptions++;
          await damageOne(work, random);
        }
      }
      expect(interruptions).toBeGreaterThan(2);
      expect(await folderHash(base.out)).toBe(whole);
      expect(await readdir(work)).toContain("run.json");
    },
    300_000,
  );

  it("measures the student as factorised beside the tuned one, as it is without tuning", async () => {
    const options = { ...base, evaluation: { ...tinyText(200, 3), seqlen: 24 }, work: join(folder, "work") };
    const untuned = await compress({ ...options, tune: "none" });
    const tuned = await compress({ ...options, tune: "blocks", reportInit: true, overwrite: true });
    const perplexity = (result: CompressResult, name: string) =>
      result.stages.find(({ stage }) => stage === name)!.perplexity!;
    expect(perplexity(tuned, "factorise")).toBe(perplexity(untuned, "blocks"));
    expect(perplexity(tuned, "blocks")).not.toBe(perplexity(untuned, "blocks"));
  });

  it("reuses every step of a finished run whose work folder was kept", async () => {
    const work = join(folder, "work");
    await compress({ ...base, work });
    const first = await folderHash(base.out);
    const stages: string[] = [];
    await compress({ ...base, work, overwrite: true, onProgress: ({ stage }) => stages.push(stage) });
    expect(await folderHash(base.out)).toBe(first);
    expect(stages.filter((stage) => /calibrate|distil|prepare|tune/.test(stage))).toEqual([]);
  });

  it("shows the runtime's callbacks the packed folder and takes what they measured into the manifest", async () => {
    const result = await compress({
      ...base,
      tune: "none",
      runtimeLogits: async (dir, ids) => {
        const model = await openModel(await openCheckpointAt(dir));
        return (await modelForward(model, [...ids], { threads: 1 })).logits;
      },
      measure: async () => ({ perplexity: 12.5 }),
    });
    expect(result.verify?.maxAbsDifference).toBe(0);
    expect(JSON.parse(await readFile(join(base.out, "subbit.json"), "utf8")).quality).toEqual({
      perplexity: 12.5,
    });
    expect(await readFile(join(base.out, "README.md"), "utf8")).toContain("| perplexity | 12.5 |");
  });

  it("refuses a runtime whose logits are off, and leaves nothing behind", async () => {
    const wrong = { ...base, tune: "none", runtimeLogits: async () => new Float32Array(24 * 61) } as const;
    await expect(compress(wrong)).rejects.toMatchObject({ code: "internal" });
    expect(await readdir(folder)).not.toContain("out");
  });

  it.each([
    ["an empty text", { calibration: { ids: new Int32Array(0), name: "empty.txt" } }, "input"],
    [
      "a text of another tokenizer",
      { calibration: { ids: new Int32Array(100).fill(99), name: "x.txt" } },
      "input",
    ],
    ["a budget below the smallest", { bpw: 0.1 }, "input"],
    ["a memory limit below any run", { memoryLimit: 1e6 }, "resources"],
  ] as const)("refuses %s before anything is written", async (_, change, code) => {
    await expect(compress({ ...base, ...change })).rejects.toMatchObject({ code });
    expect((await readdir(folder)).filter((name) => name === "out")).toEqual([]);
  });

  it("refuses an existing output unless told to overwrite", async () => {
    await compress({ ...base, tune: "none" });
    await expect(compress({ ...base, tune: "none" })).rejects.toMatchObject({ code: "usage" });
    await compress({
      ...base,
      tune: "none",
      overwrite: true,
      embedBits: 4,
      keepLast: 1,
      method: "littlebit",
      bpw: 4,
    });
    const model = await openModel(await openCheckpointAt(base.out));
    expect((await model.linear({ layer: 1, role: "q" })).kind).toBe("dense");
    await model.close();
  });
});

async function folderHash(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(folder)).sort())
    hash.update(name).update(await readFile(join(folder, name)));
  return hash.digest("hex");
}

/** Now and then one artefact loses its end or one of its bytes. */
async function damageOne(work: string, random: Random): Promise<void> {
  const names = (await readdir(work)).filter((name) => /\.safetensors$|\.snapshot\.[ab]$/.test(name));
  if (names.length === 0 || random.next() < 0.5) return;
  const file = join(work, names[random.nextInt(names.length)]);
  const bytes = await readFile(file);
  if (random.next() < 0.5) await truncate(file, random.nextInt(bytes.length));
  else {
    bytes[random.nextInt(bytes.length)] ^= 0x10;
    await writeFile(file, bytes);
  }
}
