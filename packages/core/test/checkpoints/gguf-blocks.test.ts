import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DEQUANTISERS } from "../../src/checkpoints/gguf/dequantise/index.js";
import { openGguf } from "../../src/checkpoints/gguf/file.js";
import type { StoredDtype } from "../../src/checkpoints/types.js";
import { fileSource } from "../../src/node/file-source.js";
import { openCheckpointAt } from "../../src/node/open-checkpoint-at.js";
import { asBytes } from "../../src/tensors/bytes.js";
import { describeWithShared, seededRandom, sharedPath } from "../shared-fixtures.js";
import { SLOW_BLOCKS } from "./slow-blocks.js";

interface StoredBlocks {
  dtype: StoredDtype;
  shape: [number, number];
  /** base64 */
  bytes: string;
  /** Of the f32 values that gguf-py gives. */
  sha256: string;
}

const STORED = JSON.parse(
  readFileSync(join(import.meta.dirname, "..", "data", "gguf-blocks.json"), "utf8"),
) as StoredBlocks[];

describe("GGUF blocks", () => {
  it.each(STORED)("$dtype gives gguf-py's values to the last bit", ({ dtype, shape, bytes, sha256 }) => {
    const out = new Float32Array(shape[0] * shape[1]);
    DEQUANTISERS[dtype](new Uint8Array(Buffer.from(bytes, "base64")), out);
    expect(createHash("sha256").update(asBytes(out)).digest("hex")).toBe(sha256);
  });

  it.each(Object.entries(SLOW_BLOCKS))(
    "%s equals its element-by-element twin on random blocks",
    (dtype, slow) => {
      const random = seededRandom(dtype.length + dtype.charCodeAt(1));
      const blocks = 37;
      const bytes = Uint8Array.from({ length: blocks * slow.bytes }, () => Math.floor(random() * 256));
      // Exponents of all ones would be infinities, of which there is nothing to compare.
      for (let block = 0; block < blocks; block++) {
        for (const at of slow.halves) bytes[block * slow.bytes + at + 1] &= 0xbf;
      }
      const out = new Float32Array(blocks * slow.elements);
      DEQUANTISERS[dtype as StoredDtype](bytes, out);
      for (let i = 0; i < out.length; i++) {
        const block = Math.floor(i / slow.elements);
        const want = slow.value(
          bytes.subarray(block * slow.bytes, (block + 1) * slow.bytes),
          i % slow.elements,
        );
        if (out[i] !== Math.fround(want)) expect.fail(`element ${i}: ${out[i]} instead of ${want}`);
      }
    },
  );
});

describeWithShared("GGUF fixtures", ["fixtures", "gguf"], () => {
  const types = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"];
  const files = [
    ...types.map((type) => `llama-${type}`),
    ...["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"].map((type) => `tensors-${type}`),
  ];
  it.each(files)(
    "%s: every tensor equals the expected values to the last bit, whole and by rows",
    async (name) => {
      const file = await openGguf(await fileSource(sharedPath("fixtures", "gguf", `${name}.gguf`)));
      const expected = await openCheckpointAt(sharedPath("fixtures", "gguf", `${name}.expected.safetensors`));
      let compared = 0;
      for (const key of expected.tensors.keys()) {
        if (!key.startsWith("tensor.")) continue;
        const tensor = key.slice("tensor.".length);
        const want = await expected.readF32(key);
        expect(await file.readF32(tensor)).toEqual(want);
        const [rows, columns = 1] = file.tensors.get(tensor)!.shape;
        const range = { begin: Math.floor(rows / 3), end: rows - 1 };
        expect(await file.readF32(tensor, range)).toEqual(
          want.subarray(range.begin * columns, range.end * columns),
        );
        compared++;
      }
      expect(compared).toBeGreaterThanOrEqual(3);
      await file.close();
      await expected.close();
    },
  );
});
