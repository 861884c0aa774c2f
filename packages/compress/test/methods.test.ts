/** Whole runs of every method: plan, calibrate, factorise, tune by blocks, distil everything, pack, read back. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel, referenceForward } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { modelForward } from "@subbit/engine";
import { afterEach, beforeEach, expect, it } from "vitest";
import { compress, type CompressOptions } from "../src/index.js";
import { tinyModel, tinyText } from "./tiny-model.js";

/** f32 products of the engine against the double precision of core's, over two blocks, as a share of the largest logit. */
const REFERENCE_TOLERANCE = 1e-4;
/** Seconds, not quality, matter here; the papers' own numbers of iterations would take their time. */
const FACTORISE = { iterations: 12 };

interface Case {
  readonly options: Partial<CompressOptions>;
  /** What the card says of a linear, and of embedding and head. */
  readonly linears: RegExp;
  readonly tables: RegExp;
}

const cases: Record<string, Case> = {
  "DBF in its own block order": {
    options: { method: "dbf", schedule: "official" },
    linears: /1 path, envelopes of rank 1, scales of 16 bits/,
    tables: /rows of 16 bits/,
  },
  "NanoQuant, scales of 8 bits, an embedding of 2": {
    options: { method: "nanoquant", scaleBits: 8, embedBits: 2 },
    linears: /1 path, envelopes of rank 1, no middle scale, scales of 8 bits/,
    tables: /rows of 2 bits/,
  },
  "LittleBit from Dual-SVID": {
    options: { method: "littlebit", init: "dual-svid" },
    linears: /2 paths, envelopes of rank 1, scales of 16 bits/,
    tables: /rows of 16 bits/,
  },
  "LittleBit from Joint-ITQ, a factored embedding": {
    options: { method: "littlebit", init: "itq", embedMethod: "factored", embedBpw: 3 },
    linears: /2 paths/,
    tables: /factored \(rank \d+, [\d.]+ bits a weight\)/,
  },
  "MDBF in the full metric of the inputs, scales of 8 bits": {
    options: { method: "mdbf", envelope: 2, scaleBits: 8, recipe: { factorise: { gram: "full" } } },
    linears: /1 path, envelopes of rank 2, scales of 8 bits/,
    tables: /rows of 16 bits/,
  },
  OneBit: {
    options: { method: "onebit" },
    linears: /one sign a weight and a LayerNorm behind, scales of 16 bits/,
    tables: /rows of 16 bits/,
  },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "subbit-methods-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

it.each(Object.entries(cases))("%s", async (_, { options, linears, tables }) => {
  const out = join(folder, "out");
  const result = await compress({
    model: await tinyModel(),
    out,
    calibration: tinyText(400),
    samples: 8,
    seqlen: 24,
    threads: 1,
    tune: "full",
    // Room for the scales of envelopes and second paths in matrices as small as these; OneBit has no size to choose.
    ...(options.method !== "onebit" && { bpw: 5 }),
    ...options,
    recipe: {
      factorise: { ...FACTORISE, ...options.recipe?.factorise },
      blocks: { epochs: 1, denseEpochs: 1, batch: 2, beforeFull: true },
      full: { epochs: 3, batch: 2 },
    },
  });
  const size = (await readFile(join(out, "model.safetensors"))).length;
  expect(result.fileBytes).toBe(size);
  expect(result.plan.totals.fileBytes).toBe(size);
  for (const name of ["blocks", "full"]) {
    const { lossBefore, lossAfter } = result.stages.find(({ stage }) => stage === name)!;
    expect(lossAfter).toBeLessThan(0.97 * lossBefore!);
  }
  const card = await readFile(join(out, "README.md"), "utf8");
  expect(card).toMatch(linears);
  expect(card).toMatch(tables);
  const model = await openModel(await openCheckpointAt(out));
  const ids = [3, 1, 4, 1, 5, 9, 2, 6];
  const got = (await modelForward(model, ids, { threads: 1 })).logits;
  const want = (await referenceForward(model, ids)).logits;
  const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  want.forEach((value, i) => expect(Math.abs(got[i] - value)).toBeLessThan(REFERENCE_TOLERANCE * largest));
  await model.close();
});
