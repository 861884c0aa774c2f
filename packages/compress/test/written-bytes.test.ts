/** What a plan predicts is what is written, byte for byte, for every method and every way to store tables. */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspectModel, openModel } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { compress, parsePlanFile, type PlanOptions } from "../src/index.js";
import { tinyModel, tinyText } from "./tiny-model.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "subbit-bytes-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function titleOf({ plan, ...options }: PlanOptions): string {
  return JSON.stringify({ ...options, ...(plan && { plan: "mixed" }) });
}

/** A linear of each kind and uneven ranks in one model. */
const mixed = parsePlanFile(
  JSON.stringify({
    subbitPlan: 1,
    method: "littlebit",
    linears: Object.fromEntries(
      [0, 1].flatMap((layer) =>
        ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"].map(
          (role, i) => [
            `model.layers.${layer}.${role}_proj`,
            [
              { ranks: [9, 4] },
              { rank: 6, scaleBits: 8 },
              { method: "onebit" },
              { method: "mdbf", envelope: 2, rank: 5 },
              { keep: "dense" },
              { method: "nanoquant", rank: 12 },
              { method: "dbf", rank: 11, scaleBits: 8 },
            ][(i + layer) % 7],
          ],
        ),
      ),
    ),
  }),
  "mixed.json",
);

it.each<[string, PlanOptions]>(
  (
    [
      { method: "auto", bpw: 3 },
      { method: "dbf", bpw: 3, scaleBits: 8, embedBits: 2 },
      { method: "nanoquant", bpw: 2.5, kvFactor: 1.5, embedBits: 8 },
      { method: "littlebit", bpw: 4, init: "itq", keepFirst: 1 },
      { method: "littlebit", bpw: 4, scaleBits: 8, init: "admm", paths: 3 },
      { method: "mdbf", bpw: 5, envelope: 2, scaleBits: 8 },
      { method: "mdbf", bpw: 14, envelope: 4, init: "admm", paths: 2 },
      { method: "onebit" },
      { method: "onebit", scaleBits: 8, init: "nmf", keepLast: 1 },
      { bpw: 3, embedMethod: "factored", embedBpw: 3 },
      { bytes: 14_000, embedMethod: "factored", embedBpw: 2, scaleBits: 8 },
      { plan: mixed, embedBits: 4 },
    ] satisfies PlanOptions[]
  ).map((options) => [titleOf(options), options]),
)("%s", async (title, options) => {
  const model = await tinyModel();
  const out = join(folder, title.replace(/\W+/g, "-"));
  const result = await compress({
    ...options,
    model,
    out,
    calibration: tinyText(400),
    samples: 4,
    seqlen: 24,
    threads: 1,
    tune: "none",
    recipe: { factorise: { iterations: 6 } },
  });
  const { totals, rows } = result.plan;
  const { size } = await stat(join(out, "model.safetensors"));
  expect(size).toBe(totals.fileBytes);
  expect(result.fileBytes).toBe(size);
  if (options.bytes !== undefined) expect(size).toBeLessThanOrEqual(options.bytes);
  const packed = await openModel(await openCheckpointAt(out));
  const report = inspectModel(packed);
  await packed.close();
  expect(report.bytes.embeddings).toBe(totals.embeddingBytes);
  expect(report.bytes.other).toBe(totals.otherBytes);
  expect(report.bpw).toBeCloseTo(totals.bpw, 12);
  report.linears.forEach((linear, i) => {
    const row = rows[i];
    expect(linear.bpw).toBeCloseTo(row.bpw, 12);
    expect(linear.paperBpw).toBeCloseTo(row.paperBpw, 12);
    expect(linear.method).toBe(row.kind === "dense" ? "dense" : row.method);
    if (row.kind === "factored")
      expect(linear).toMatchObject({ rank: row.rank, paths: row.paths, envelope: row.envelope });
  });
});
