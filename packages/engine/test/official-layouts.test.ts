/** Checkpoints of the official implementations through the engine: the logits of the official forward pass. */
import { openModel } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { join } from "node:path";
import { expect, it } from "vitest";
import { modelForward } from "../src/index.js";

const LAYOUTS = join(import.meta.dirname, "..", "..", "core", "test", "data", "layouts");
/** Float32 arithmetic in another order, over two blocks; logits are 2 to 4. */
const LOGITS_ATOL = 5e-4;

it.each(["littlebit-single", "dbf-finetuned", "mdbf-p1-l4"])("%s", async (name) => {
  const model = await openModel(await openCheckpointAt(join(LAYOUTS, name)));
  const golden = await openCheckpointAt(join(LAYOUTS, name, "expected.safetensors"));
  const want = await golden.readF32("logits");
  const { logits } = await modelForward(model, [...(await golden.readF32("input_ids"))], {
    hidden: false,
    threads: 1,
  });
  expect(Math.max(...logits.map((value, i) => Math.abs(value - want[i])))).toBeLessThan(LOGITS_ATOL);
  await golden.close();
  await model.close();
});
