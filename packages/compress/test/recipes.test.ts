/** Recipes by name, alone and in a compression. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compress, type CompressOptions, recipeOf, TRAIN_RECIPE_NAMES, trainRecipe } from "../src/index.js";
import { tinyModel, tinyText } from "./tiny-model.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "subbit-recipes-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("trainRecipe", () => {
  it("is the preset's where nothing else is asked for, and takes overrides", () => {
    expect(recipeOf("default").full).toEqual(trainRecipe("default"));
    expect(trainRecipe("onebit", { clip: 0 })).toEqual({ ...trainRecipe("onebit"), clip: 0 });
  });

  it.each(TRAIN_RECIPE_NAMES)("%s can stand in a manifest", (name) => {
    expect(JSON.parse(JSON.stringify(trainRecipe(name)))).toEqual(trainRecipe(name));
  });
});

describe("compress", () => {
  const options = async (out: string, change: Partial<CompressOptions>): Promise<CompressOptions> => ({
    model: await tinyModel(),
    out: join(folder, out),
    calibration: tinyText(8 * 16),
    samples: 8,
    seqlen: 16,
    trainTokens: 4 * 4 * 16,
    method: "littlebit",
    init: "dual-svid",
    bpw: 4,
    threads: 1,
    ...change,
  });

  it("trains LittleBit by its own recipe, from the start that ours has", async () => {
    const own = trainRecipe("littlebit", { rates: { latents: 1e-3, scales: 1e-3, norms: 1e-3 } });
    const theirs = await compress(await options("theirs", { recipe: { full: own } }));
    const ours = await compress(await options("ours", {}));
    const full = (result: typeof ours) => result.stages.find(({ stage }) => stage === "full")!;
    // Latents differ in size, not in sign.
    expect(full(theirs).lossBefore).toBe(full(ours).lossBefore);
    expect(full(theirs).lossAfter!).toBeLessThan(full(theirs).lossBefore!);
    expect(full(theirs).tokens).toBe(4 * 4 * 16);
    const manifest = await readFile(join(folder, "theirs", "subbit.json"), "utf8");
    expect(manifest).toContain('"hiddenKind":"mse"'.replace(":", manifest.includes('": "') ? ": " : ":"));
  });

  it("refuses to tune blocks before a recipe that starts from raw latents", async () => {
    const recipe = { full: trainRecipe("littlebit"), blocks: { beforeFull: true } };
    await expect(compress(await options("refused", { recipe }))).rejects.toMatchObject({ code: "usage" });
  });
});
