/** A model of any family, planned as dense weights, has the tensors of its own dense checkpoint: names, shapes, values. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { planDense } from "../../src/layouts/plan-folder.js";
import { openModel } from "../../src/model/open-model.js";
import { openCheckpointAt } from "../../src/node.js";
import { bytesAsF32 } from "../../src/tensors/bytes.js";

/** Gemma's norms are held with their 1 added, which rounds a weight to the steps of floats below 4. */
const OFFSET_ROUNDING = 2 ** -23;

const FAMILIES = fileURLToPath(new URL("../data/families/", import.meta.url));
const names = readdirSync(FAMILIES, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? [entry.name] : [],
);

describe("planDense", () => {
  it.each(names)("gives %s its tensors back", async (family) => {
    const stored = await openCheckpointAt(`${FAMILIES}${family}`);
    const model = await openModel(stored);
    const { tensors } = await planDense(model);
    const planned = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    expect([...planned.keys()].sort()).toEqual([...stored.tensors.keys()].sort());
    for (const [name, { shape, dtype }] of stored.tensors) {
      const { data, ...written } = planned.get(name)!;
      expect(written).toEqual({ name, shape, dtype });
      const bytes = typeof data === "function" ? await data() : data;
      const read = await stored.readRaw(name);
      if (shape.length > 1 || model.spec.norm.weightOffset === 0) {
        expect(Buffer.compare(bytes, read), name).toBe(0);
      } else {
        const [values, exact] = [bytesAsF32(bytes), bytesAsF32(read)];
        values.forEach((value, i) => expect(Math.abs(value - exact[i])).toBeLessThanOrEqual(OFFSET_ROUNDING));
      }
    }
    await model.close();
  });
});
