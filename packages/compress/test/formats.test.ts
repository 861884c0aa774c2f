/** Every format through training and packing, with states made by hand. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  LINEAR_ROLES,
  type LinearRole,
  type NormRole,
  type Model,
  openModel,
  referenceForward,
  unpackSigns,
} from "@subbit/core";
import { openCheckpointAt, writeSubbit } from "@subbit/core/node";
import { blockFeeds, BlockPrograms, modelForward } from "@subbit/engine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firstWindows, type Windows } from "../src/calibrate/windows.js";
import { distil } from "../src/distil/distil.js";
import type { DistilSnapshot, DistilTask } from "../src/distil/types.js";
import { Factoriser } from "../src/factorise/index.js";
import { planModel } from "../src/index.js";
import { LatentSteps } from "../src/optimise/latent-step.js";
import { LATENT_LIMIT } from "../src/optimise/latent-stepper.js";
import { packedModel } from "../src/package/packed-model.js";
import { Random } from "../src/random.js";
import { recipeOf } from "../src/recipe.js";
import { blockForms, stateFeeds } from "../src/student/feeds.js";
import { stateOfFactorised } from "../src/student/from-factorised.js";
import { MemoryHidden } from "../src/student/hidden-store.js";
import type { LinearState } from "../src/student/linear-state.js";
import {
  embed,
  type EndsState,
  type ModelState,
  readDenseBlock,
  readEnds,
} from "../src/student/model-state.js";
import { statePerplexity } from "../src/student/perplexity.js";
import { type BlockState, blockArrays, copyBlock, type NormState } from "../src/student/state.js";
import { trainBlock } from "../src/tune/train-block.js";
import { type Format, FORMATS, handMade } from "./formats.js";
import { copyOf } from "./snapshots.js";
import { tinyModel, tinyText } from "./tiny-model.js";

const compile = { threads: 1, spin: false };
const SEQLEN = 20;
/** f32 products of the engine against the double precision of core's, over two blocks. */
const REFERENCE_TOLERANCE = 1e-4;
/** What rounding trained scales does to a perplexity: 16 bits keep 11 of a scale, 8 bits a fiftieth of it. */
const ROUNDING = { 16: 0.005, 8: 0.05 } as const;

let model: Model;
let ends: EndsState;
let windows: Windows;
let dense: BlockState[];
let hidden: MemoryHidden[];
let factoriser: Factoriser;
let programs: BlockPrograms;
let latentSteps: LatentSteps;

beforeAll(async () => {
  model = await tinyModel();
  ends = await readEnds(model);
  windows = firstWindows(tinyText(6 * SEQLEN), SEQLEN);
  factoriser = new Factoriser();
  programs = new BlockPrograms(model.spec, compile);
  latentSteps = new LatentSteps({ surrogate: { kind: "tanh", width: 1 }, limit: LATENT_LIMIT }, compile);
  dense = [];
  hidden = [await stored(embed(model.spec, ends, windows.ids, SEQLEN))];
  for (let layer = 0; layer < model.spec.layers; layer++) {
    dense.push(await readDenseBlock(model, layer));
    hidden.push(await stored(await outputs(dense[layer], hidden[layer], layer)));
  }
});

afterAll(async () => {
  await programs.dispose();
  await latentSteps.dispose();
  await factoriser.dispose();
});

const all = () => Array.from({ length: windows.count }, (_, i) => i);

async function stored(states: Float32Array): Promise<MemoryHidden> {
  const store = new MemoryHidden(windows.count, SEQLEN * model.spec.hiddenSize);
  await store.scatter(all(), states);
  return store;
}

async function outputs(block: BlockState, inputs: MemoryHidden, layer: number): Promise<Float32Array> {
  const shape = { batch: windows.count, tokens: SEQLEN, layer };
  const program = await programs.get(blockForms(block), { ...shape, mode: "forward" });
  return (await program.run({ ...stateFeeds(block), hidden: await inputs.gather(all()) }))["out"];
}

async function blocksOf(format: Format): Promise<BlockState[]> {
  const random = new Random(3);
  const blocks: BlockState[] = [];
  for (const block of dense) {
    const linears = {} as Record<LinearRole, LinearState>;
    for (const role of LINEAR_ROLES) {
      const linear = block.linears[role];
      if (linear.kind === "dense") linears[role] = await handMade(format, linear, factoriser, random);
    }
    blocks.push({ linears, norms: copyBlock(block).norms });
  }
  return blocks;
}

function taskOf(blocks: readonly BlockState[], steps: number): DistilTask {
  const finalNorm = { weight: ends.finalNorm!.weight.slice() };
  return {
    spec: model.spec,
    student: { blocks: blocks.map((block) => copyBlock(block)), ends: { ...ends, finalNorm } },
    teacher: ends,
    teacherHidden: hidden.at(-1)!,
    windows,
    recipe: { ...recipeOf("default").full, batch: 2 },
    steps,
    seed: 0,
  };
}

describe.each(FORMATS)("%s", (format) => {
  let blocks: BlockState[];
  beforeAll(async () => {
    blocks = await blocksOf(format);
  });

  it("feeds the engine what its form asks for", () => {
    for (const block of blocks) {
      const feeds = stateFeeds(block);
      const wanted = blockFeeds(model.spec, blockForms(block));
      expect(Object.keys(feeds).sort()).toEqual(wanted.map(({ name }) => name).sort());
      for (const { name, shape } of wanted) {
        expect(feeds[name].length).toBe(shape.reduce((size, n) => size * n, 1));
      }
    }
  });

  it("learns a block: signs, scales and norms together, scales alone, signs alone", async () => {
    const data = {
      inputs: hidden[0],
      targets: hidden[1],
      importance: new Float32Array(model.spec.hiddenSize).fill(1),
      count: windows.count,
      seqlen: SEQLEN,
      layer: 0,
    };
    for (const rates of [
      { latents: 0.02, scales: 0.02, norms: 0.01 },
      { latents: 0, scales: 0.02, norms: 0.01 },
      { latents: 0.02, scales: 0, norms: 0 },
    ]) {
      const { lossBefore, lossAfter } = await trainBlock(model.spec, blocks[0], data, programs, latentSteps, {
        ...recipeOf("default").blocks,
        epochs: 6,
        batch: 2,
        rates: { ...rates, weights: 0 },
        seed: 0,
      });
      expect(lossAfter).toBeLessThan(0.97 * lossBefore);
    }
  });

  it("distils, packs, and reads back as what it was: the engine's logits are the reference's", async () => {
    const task = taskOf(blocks, 24);
    const { lossBefore, lossAfter } = await distil(task, compile);
    expect(lossAfter).toBeLessThan(0.9 * lossBefore);
    const folder = await mkdtemp(join(tmpdir(), "subbit-formats-"));
    const out = join(folder, "out");
    const info = { writtenBy: "test", recipe: {}, teacherSha256: "0".repeat(64) };
    await writeSubbit(out, packedModel(model, planModel(model, { bpw: 3 }), task.student, info), {
      overwrite: false,
      texts: new Map(),
    });
    const packed = await openModel(await openCheckpointAt(out));
    try {
      const ids = [...windows.ids.subarray(0, 12)];
      const got = (await modelForward(packed, ids, compile)).logits;
      const want = (await referenceForward(packed, ids)).logits;
      const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      want.forEach((value, i) =>
        expect(Math.abs(got[i] - value)).toBeLessThan(REFERENCE_TOLERANCE * largest),
      );
      const scaleBits = format.endsWith("8 bits") ? 8 : 16;
      const linear = await packed.linear({ layer: 1, role: "gate" });
      expect("scaleBits" in linear ? (linear.scaleBits ?? 16) : 16).toBe(scaleBits);
      const trained = await statePerplexity(model.spec, task.student, windows, compile);
      const shipped = await statePerplexity(model.spec, await readState(packed), windows, compile);
      expect(Math.abs(Math.log(shipped.perplexity / trained.perplexity))).toBeLessThan(ROUNDING[scaleBits]);
    } finally {
      await packed.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("goes on after a snapshot to the same bytes", async () => {
    const whole = taskOf(blocks, 5);
    await distil(whole, compile);
    let saved: DistilSnapshot | undefined;
    const stop = new AbortController();
    const stopped = distil(taskOf(blocks, 5), {
      ...compile,
      signal: stop.signal,
      onStep: ({ step }) => {
        if (step === 3) stop.abort();
      },
      snapshot: (state) => {
        saved = copyOf(state);
        return Promise.resolve();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "interrupted" });
    const resumed = taskOf(blocks, 5);
    await distil(resumed, { ...compile, from: saved! });
    whole.student.blocks.forEach((block, layer) =>
      expect(blockArrays(resumed.student.blocks[layer])).toEqual(blockArrays(block)),
    );
  });
});

/** A packed model as a state, its signs as latents. */
async function readState(packed: Model): Promise<ModelState> {
  const blocks: BlockState[] = [];
  for (let layer = 0; layer < packed.spec.layers; layer++) {
    const linears = {} as Record<LinearRole, LinearState>;
    for (const role of LINEAR_ROLES) linears[role] = await readLinear(packed, layer, role);
    const norms = {} as Record<NormRole, NormState>;
    for (const role of packed.spec.norms) norms[role] = await packed.norm({ layer, role });
    blocks.push({ linears, norms });
  }
  return { blocks, ends: await readEnds(packed) };
}

async function readLinear(packed: Model, layer: number, role: LinearRole): Promise<LinearState> {
  const linear = await packed.linear({ layer, role });
  if (linear.kind === "dense") throw new TypeError(`Linear ${role} of block ${layer} was packed dense.`);
  const paths = linear.kind === "factored" ? linear.paths : [];
  const latents = paths.map(({ outSigns, inSigns }) => ({
    outLatents: unpackSigns(outSigns),
    inLatents: unpackSigns(inSigns),
  }));
  return stateOfFactorised({ linear, latents, relError: 0, weightedRelError: 0, seconds: 0 }, linear.bias);
}
