/** Loading straight from files: the same memory as by way of core's readers, on any number of threads; damage is refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blobFiles, openCheckpoint, openModel, referenceForward, type Model } from "@subbit/core";
import { openCheckpointAt, writeSubbit } from "@subbit/core/node";
import { afterAll, describe, expect, it, vi } from "vitest";
import { loadModel, type LoadOptions } from "../src/index.js";
import { relativeError } from "./kernel-harness.js";
import { tinyConfig, tinyModel, type TinyOptions } from "./tiny-models.js";

const IDS = Array.from({ length: 40 }, (_, i) => (i * 37) % 300);
const root = mkdtempSync(join(tmpdir(), "subbit-load-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** 16-bit block sums through all products of two blocks: 1.5e-3 measured. */
const FORWARD_ERROR = 4e-3;

let folders = 0;

/** A tiny model as a packed folder. */
async function write(options: TinyOptions): Promise<string> {
  const folder = join(root, `model-${folders++}`);
  const tiny = tinyModel(options);
  await writeSubbit(folder, {
    ...tiny,
    config: tinyConfig(options),
    method: () => "dbf",
    writtenBy: "a test",
    recipe: {},
  });
  return folder;
}

async function logits(model: Model, options: LoadOptions): Promise<Float32Array> {
  const runtime = await loadModel(model, undefined, options);
  const result = await runtime.logits(IDS);
  await runtime.dispose();
  return result;
}

const MODELS: TinyOptions[] = [
  { factored: { rank: 24, paths: 2, envelope: 1, mid: true }, dtype: "i8", bias: true },
  { factored: { rank: 40, paths: 1, envelope: 2, mid: true }, dtype: "i4", hidden: 37 },
  { factored: { rank: 9, paths: 1, envelope: 1, mid: false }, dtype: "f16", hidden: 45, tied: true },
  { dtype: "i4", hidden: 43, bias: true },
  { dtype: "bf16", hidden: 48 },
  { onebit: true, dtype: "i2", hidden: 42, bias: true },
  { onebit: true, scaleBits: 8, dtype: "i2", hidden: 40, tied: true },
  { onebit: true, scaleBits: 32, hidden: 40, bias: true },
  { factored: { rank: 24, more: 11, paths: 2, envelope: 1, mid: true }, scaleBits: 32, dtype: "f16" },
  { factored: { rank: 24, more: 11, paths: 2, envelope: 1, mid: true }, scaleBits: 8, dtype: "i4" },
  {
    factored: { rank: 17, more: 20, paths: 3, envelope: 4, mid: true },
    tables: { rank: 40, more: 3, paths: 2, envelope: 1, mid: true },
    scaleBits: 8,
  },
  {
    factored: { rank: 24, paths: 1, envelope: 1, mid: false },
    tables: { rank: 33, paths: 1, envelope: 2, mid: true },
    hidden: 37,
    tied: true,
  },
];

describe("a model loaded straight from its file", () => {
  it.each(MODELS)("%j: the same bits as by way of core's readers", async (options) => {
    const folder = await write(options);
    const model = await openModel(await openCheckpointAt(folder));
    // A wrapped model is read by its functions.
    const want = await logits({ ...model }, { threads: 1 });
    const { logits: exact } = await referenceForward(model, IDS);
    expect(relativeError(want, exact)).toBeLessThan(FORWARD_ERROR);
    for (const threads of [1, 2, 4]) expect(await logits(model, { threads })).toEqual(want);
    expect(await logits(model, { device: "reference" })).toHaveLength(want.length);
    // Blobs hand out whole buffers; without shared memory views may detach.
    const files = new Map(
      ["config.json", "subbit.json", "model.safetensors"].map((name) => [
        name,
        new Blob([readFileSync(join(folder, name))]),
      ]),
    );
    const blobs = await openModel(await openCheckpoint(blobFiles(files)));
    vi.stubGlobal("SharedArrayBuffer", undefined);
    expect(await logits(blobs, {})).toEqual(want);
    vi.unstubAllGlobals();
    await model.close();
  });

  /** The tensor whose name ends with `suffix`, changed by `change`. */
  async function damage(suffix: string, change: (bytes: Uint8Array) => void): Promise<Promise<unknown>> {
    const folder = await write({ factored: { rank: 24, paths: 1, envelope: 1, mid: true } });
    const checkpoint = await openCheckpointAt(folder);
    const info = [...checkpoint.tensors.values()].find(({ name }) => name.endsWith(suffix))!;
    const path = join(folder, "model.safetensors");
    const bytes = readFileSync(path);
    change(bytes.subarray(info.offset, info.offset + info.bytes));
    writeFileSync(path, bytes);
    return openModel(checkpoint).then((model) => loadModel(model, undefined, { threads: 2 }));
  }

  it("refuses set padding, with the name of the tensor", async () => {
    await expect(damage("1.self_attn.v_proj.paths.0.in_signs", (bytes) => (bytes[7] = 0x80))).rejects.toThrow(
      /^Tensor model\.layers\.1\.self_attn\.v_proj\.paths\.0\.in_signs of .* has set bits in its padding; the file is damaged\.$/,
    );
  });

  it("refuses a scale that is not finite", async () => {
    await expect(
      damage("0.mlp.down_proj.paths.0.mid_scales", (bytes) => bytes.set([0, 0x7c], 6)),
    ).rejects.toThrow(/mid_scales of .* holds a scale that is not finite; the file is damaged\.$/);
  });

  it("refuses a file that became shorter", async () => {
    const folder = await write({ factored: { rank: 24, paths: 1, envelope: 1, mid: true } });
    const model = await openModel(await openCheckpointAt(folder));
    const path = join(folder, "model.safetensors");
    writeFileSync(path, readFileSync(path).subarray(0, 20000));
    await expect(loadModel(model, undefined, { threads: 2 })).rejects.toMatchObject({
      code: "input",
      message: expect.stringContaining("became shorter"),
    });
    await model.close();
  });

  it("stops between two reads when the signal fires, and reports bytes", async () => {
    const folder = await write({ factored: { rank: 24, paths: 1, envelope: 1, mid: true } });
    const model = await openModel(await openCheckpointAt(folder));
    const abort = new AbortController();
    await expect(
      loadModel(model, undefined, { signal: abort.signal, onProgress: () => abort.abort() }),
    ).rejects.toMatchObject({ code: "interrupted" });
    const done: number[] = [];
    const runtime = await loadModel(model, undefined, { onProgress: (e) => done.push(e.done / e.total) });
    expect([done[0], done.at(-1)]).toEqual([0, 1]);
    await runtime.dispose();
    await model.close();
  });
});
