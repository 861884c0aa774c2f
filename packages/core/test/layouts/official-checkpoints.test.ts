/** Checkpoints that the official implementations wrote: read as they meant them, written back to the same tensors. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inspectModel } from "../../src/model/inspect.js";
import { openModel } from "../../src/model/open-model.js";
import { referenceForward } from "../../src/model/reference.js";
import { LINEAR_ROLES, type LinearSite } from "../../src/model/spec.js";
import type { Model } from "../../src/model/model.js";
import { oneBitMatrix } from "../../src/linears/onebit-linear.js";
import { tableValues } from "../../src/linears/table.js";
import { maxWeightDifference } from "../../src/layouts/compare-models.js";
import { convertedModel } from "../../src/layouts/converted-model.js";
import { planDense, planOfficial } from "../../src/layouts/plan-folder.js";
import { officialLayout } from "../../src/layouts/registry.js";
import { planSubbit } from "../../src/layouts/subbit-write.js";
import { openCheckpointAt } from "../../src/node/open-checkpoint-at.js";
import { open } from "../packed-models.js";
import { openPlan } from "../planned-folders.js";
import { sharedPath } from "../shared-fixtures.js";

/** Float32 arithmetic in another order, over two blocks; logits are 2 to 4. */
const LOGITS_ATOL = 5e-4;
/** Effective weights are products of a few f32 numbers. */
const DENSE_RTOL = 1e-5;

const LOCAL = join(import.meta.dirname, "..", "data", "layouts");
const SHARED = sharedPath("fixtures", "layouts");
const foldersOf = (root: string): string[] =>
  existsSync(root)
    ? readdirSync(root, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => join(root, entry.name))
    : [];
/** Those kept here, and more where they lie beside the repository. */
const folders = [...foldersOf(LOCAL), ...foldersOf(SHARED)].map((path) => ({
  path,
  name: `${path.startsWith(LOCAL) ? "kept" : "shared"} ${path.split(/[/\\]/).at(-1)!}`,
  layout: path.split(/[/\\]/).at(-1)!.split("-")[0],
}));

function siteOf(model: Model, name: string): LinearSite {
  for (let layer = 0; layer < model.spec.layers; layer++) {
    const role = LINEAR_ROLES.find((one) => model.spec.names.linear({ layer, role: one }) === name);
    if (role !== undefined) return { layer, role };
  }
  throw new Error(`no linear ${name}`);
}

describe.each(folders)("$name", ({ path, layout }) => {
  it("computes what the official code computes", async () => {
    const model = await openModel(await openCheckpointAt(path));
    const golden = await openCheckpointAt(join(path, "expected.safetensors"));
    expect(model.layout?.name).toBe(layout);
    for (const tensor of golden.tensors.keys()) {
      if (!tensor.startsWith("dense.")) continue;
      const linear = await model.linear(siteOf(model, tensor.slice("dense.".length)));
      const values = linear.kind === "onebit" ? oneBitMatrix(linear) : tableValues(linear);
      const want = await golden.readF32(tensor);
      const norm = (from: Float32Array, to?: Float32Array): number =>
        Math.hypot(...Array.from(from, (value, i) => value - (to?.[i] ?? 0)));
      expect(norm(values, want) / norm(want), tensor).toBeLessThan(DENSE_RTOL);
    }
    const { logits } = await referenceForward(model, [...(await golden.readF32("input_ids"))]);
    const want = await golden.readF32("logits");
    expect(logits.length).toBe(want.length);
    expect(Math.max(...logits.map((value, i) => Math.abs(value - want[i])))).toBeLessThan(LOGITS_ATOL);
    await golden.close();
    await model.close();
  });

  it("is written back to the same tensors, byte for byte", async () => {
    const model = await openModel(await openCheckpointAt(path));
    const original = model.layout!.original;
    const again = await openPlan(await planOfficial(officialLayout(model.layout!.name), model));
    const written = again.layout!.original;
    const names = [...original.tensors.keys()].filter((name) => !isShadow(original.tensors.get(name)!, name));
    expect([...written.tensors.keys()].sort()).toEqual(names.sort());
    for (const name of names) {
      const [was, is] = [original.tensors.get(name)!, written.tensors.get(name)!];
      expect([is.dtype, is.shape], name).toEqual([was.dtype, was.shape]);
      expect(Buffer.compare(await written.readRaw(name), await original.readRaw(name)), name).toBe(0);
    }
    expect(written.config).toEqual(original.config);
    await model.close();
  });

  it("loses nothing on its way through the subbit layout", async () => {
    const model = await openModel(await openCheckpointAt(path));
    const subbit = await open(await planSubbit(convertedModel(model, { writtenBy: "test" })));
    expect(await maxWeightDifference(model, subbit)).toBe(0);
    const back = await openPlan(await planOfficial(officialLayout(model.layout!.name), subbit));
    expect(back.layout?.name).toBe(layout);
    expect(await maxWeightDifference(model, back)).toBe(0);
    if (layout === "onebit") {
      await expect(planDense(model)).rejects.toThrow(/LayerNorm cannot be folded/);
    } else {
      const dense = await openPlan(await planDense(subbit));
      expect(dense.layout).toBeUndefined();
      expect(await maxWeightDifference(model, dense)).toBe(0);
    }
    await model.close();
  });

  it("is accounted for to the last byte", async () => {
    const model = await openModel(await openCheckpointAt(path));
    const report = inspectModel(model);
    expect(report.format).toBe(layout);
    expect(Object.values<number>({ ...report.bytes }).reduce((sum, bytes) => sum + bytes, 0)).toBe(
      report.fileBytes,
    );
    const { signs, scales } = report.bytes;
    expect(report.linears.reduce((sum, { bits }) => sum + bits, 0)).toBe(8 * (signs + scales));
    await model.close();
  });
});

/** Shadows of the signs that a tuning window of DBF left are no weights and are not written. */
function isShadow({ shape }: { shape: readonly number[] }, name: string): boolean {
  return /\.[02]\.w$/.test(name) && shape.length === 2;
}
