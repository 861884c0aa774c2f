/** A tiny random model of every family through the whole program: compressed with block tuning, packed, and run from the file. */
import { openModel } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { compress } from "@subbit/compress";
import { modelForward } from "@subbit/engine";
import { loadModel } from "@subbit/runtime";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { tinyModel, tinyText } from "../packages/compress/test/tiny-model.js";
import { FAMILY_CONFIGS } from "../packages/core/test/family-configs.js";
import { temporaryFolder } from "./support/temporary.js";

const folder = temporaryFolder();
const compile = { threads: 1, spin: false };
/** Wide enough for a rank of some signs at this size. */
const SIZES = { vocab_size: 61, hidden_size: 64, intermediate_size: 96, num_attention_heads: 4 };
const HEADS = { num_key_value_heads: 2, head_dim: 16 };
const BPW = 1.2;
/** Longer than every window and than longrope's switch; it starts a second block of the KV cache. */
const TOKENS = 40;
/** Of the largest logit: what the runtime's rounding of group sums and of the KV cache costs over two blocks. */
const ROUNDING = 0.01;

describe("every family, compressed and packed", () => {
  it.each(Object.entries(FAMILY_CONFIGS))("%s", async (name, small) => {
    const isOpt = small["model_type"] === "opt";
    const projection = small["word_embed_proj_dim"] === undefined ? {} : { word_embed_proj_dim: 48 };
    const { intermediate_size: ffn, ...opt } = SIZES;
    const sizes = isOpt ? { ...opt, ffn_dim: ffn, ...projection } : { ...SIZES, ...HEADS };
    const factors = small["rope_scaling"] === undefined ? {} : { rope_scaling: longRope(4) };
    const teacher = await tinyModel(1, { ...small, ...sizes, ...factors });
    const out = join(folder, name.replaceAll(" ", "-"));
    const { bpw, plan, fileBytes } = await compress({
      model: teacher,
      out,
      calibration: tinyText(300),
      samples: 4,
      seqlen: 24,
      bpw: BPW,
      allocate: "uniform",
      // One family without a final norm goes through the distillation of the whole model too.
      tune: name === "opt, norms after" ? "scales" : "blocks",
      threads: 1,
      recipe: {
        factorise: { iterations: 10, gram: "diagonal" },
        blocks: { epochs: 1, denseEpochs: 0, batch: 2 },
      },
    });
    expect(bpw).toBeLessThanOrEqual(BPW);
    expect(fileBytes).toBe(plan.totals.fileBytes);

    const packed = await openModel(await openCheckpointAt(out));
    const ids = [...tinyText(TOKENS, 5).ids];
    const { logits: want } = await modelForward(packed, ids, compile);
    const runtime = await loadModel(packed, undefined, { threads: 1, kvBits: 32 });
    const got = await runtime.logits(ids);
    const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const worst = want.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i])), 0);
    expect(worst).toBeLessThan(ROUNDING * largest);
    await runtime.dispose();
    await packed.close();
    await teacher.close();
  });
});

function longRope(rotatedPairs: number) {
  const divisors = (step: number) => Array.from({ length: rotatedPairs }, (_, i) => 1 + step * i);
  return { type: "longrope", short_factor: divisors(0.3), long_factor: divisors(1.1) };
}
