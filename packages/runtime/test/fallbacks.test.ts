/** Engines that lack something: the same results with less, and a reason given. */
import { referenceForward } from "@subbit/core";
import { afterEach, describe, expect, it, vi } from "vitest";
import { loadModel } from "../src/index.js";
import { relativeError } from "./kernel-harness.js";
import { tinyModel } from "./tiny-models.js";

const IDS = Array.from({ length: 40 }, (_, i) => (i * 37) % 300);
const FACTORED = { seed: 6, factored: { rank: 24, paths: 2, envelope: 1, mid: true } };

async function run(options = FACTORED) {
  const model = await loadModel(tinyModel(options), undefined, { threads: 2 });
  const result = {
    capabilities: model.capabilities,
    logits: await model.logits(IDS),
    ids: (await model.complete(IDS, { maxTokens: 10 })).ids,
  };
  await model.dispose();
  return result;
}

/** Hides relaxed SIMD from the probes. */
function hideRelaxedSimd(): void {
  const validate = WebAssembly.validate.bind(WebAssembly);
  const swizzle = [253, 128, 2].join();
  vi.spyOn(WebAssembly, "validate").mockImplementation((bytes) => {
    return !new Uint8Array(bytes as ArrayBuffer).join().includes(swizzle) && validate(bytes);
  });
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("an engine without", () => {
  it("shared memory: one thread, the same bits, and the reason", async () => {
    const full = await run();
    vi.stubGlobal("SharedArrayBuffer", undefined);
    const less = await run();
    expect(less.capabilities).toMatchObject({
      device: "cpu",
      threads: 1,
      why: expect.stringContaining("cross-origin isolated"),
    });
    expect(less.logits).toEqual(full.logits);
    expect(less.ids).toEqual(full.ids);
  });

  it("relaxed SIMD: baseline kernels, near the reference", async () => {
    const full = await run();
    hideRelaxedSimd();
    const less = await run();
    expect(less.capabilities).toMatchObject({
      simd: "baseline",
      why: expect.stringContaining("no relaxed SIMD"),
    });
    const want = await referenceForward(tinyModel(FACTORED), IDS);
    expect(relativeError(less.logits, want.logits)).toBeLessThan(4e-3);
    expect(less.ids).toEqual(full.ids);
  });

  it("SIMD: refused with what to use instead", async () => {
    vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
    await expect(run()).rejects.toMatchObject({
      code: "resources",
      message: expect.stringContaining("SIMD"),
    });
  });
});
