/** Checkpoints of the official implementations run as they are; their logits are those of the official forward pass. */
import { openModel, planDense } from "@subbit/core";
import { openCheckpointAt, writePlan } from "@subbit/core/node";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { loadModel } from "../src/index.js";

const LAYOUTS = join(import.meta.dirname, "..", "..", "core", "test", "data", "layouts");
/**
 * Root mean square of the error over that of the logits: a sign product by look-up is rounded to some 5e-4 of its size, and 28
 * of them and more lie behind a logit. A wrong sign convention is off by 1 and more.
 */
const SIGN_ERROR = 1e-2;

it.each(["littlebit-single", "dbf-finetuned", "mdbf-p1-l4"])("%s", async (name) => {
  const model = await openModel(await openCheckpointAt(join(LAYOUTS, name)));
  const golden = await openCheckpointAt(join(LAYOUTS, name, "expected.safetensors"));
  const ids = [...(await golden.readF32("input_ids"))];
  const want = await golden.readF32("logits");
  const size = Math.hypot(...want);
  let twin: Float32Array | undefined;
  for (const device of ["reference", "cpu"] as const) {
    const runtime = await loadModel(model, undefined, { threads: 1, device });
    const got = await runtime.logits(ids);
    expect(Math.hypot(...got.map((value, i) => value - want[i])) / size).toBeLessThan(SIGN_ERROR);
    // The twin gives the same bits.
    expect(got).toEqual((twin ??= got));
    await runtime.dispose();
  }
  await golden.close();
  await model.close();
});

it("dense weights in a torch file run as those in a safetensors file, straight from the file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "subbit-torch-"));
  try {
    const packed = await openModel(await openCheckpointAt(join(LAYOUTS, "littlebit-single")));
    const plan = await planDense(packed);
    const logits: Float32Array[] = [];
    for (const weightFile of ["model.safetensors", "pytorch_model.bin"] as const) {
      await writePlan(join(folder, weightFile), { ...plan, weightFile });
      const model = await openModel(await openCheckpointAt(join(folder, weightFile)));
      const runtime = await loadModel(model, undefined, { threads: 1 });
      logits.push(await runtime.logits([1, 2, 3]));
      await runtime.dispose();
      await model.close();
    }
    expect(logits[1]).toEqual(logits[0]);
    await packed.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
