/** A whole model through the engine, block by block: the reference that packed files are verified against. */
import { embedTokens, enterBlocks, readReferenceEnds, throwIfAborted, type Model } from "@subbit/core";
import type { CompileOptions } from "../program.js";
import { BlockPrograms } from "./block-programs.js";
import { HEAD_CHUNK } from "./head-program.js";
import { HeadRunner } from "./head-runner.js";
import { loadBlock, loadHead } from "./load.js";

export interface ModelForwardOptions extends CompileOptions {
  /** Sequences in `ids`, all of the same length. @default 1 */
  readonly batch?: number;
  /** Whether to return the hidden states. @default false */
  readonly hidden?: boolean;
  readonly signal?: AbortSignal;
}

export interface ModelForwardResult {
  /** [ids.length, vocab] */
  readonly logits: Float32Array;
  /** What enters block 0, then what leaves each block: layers + 1 arrays [ids.length, hidden]; empty unless asked for. */
  readonly hidden: readonly Float32Array[];
}

/** Logits of token ids (`batch` sequences one after the other); one block's weights are in memory at a time. */
export async function modelForward(
  model: Model,
  ids: readonly number[],
  options: ModelForwardOptions = {},
): Promise<ModelForwardResult> {
  const { batch = 1, hidden: keep = false, signal, ...compile } = options;
  const programs = new BlockPrograms(model.spec, { ...compile, limit: 1 });
  const tokens = ids.length / batch;
  const rows = embedTokens(await model.embedding(), ids);
  let hidden = enterBlocks(model.spec, await readReferenceEnds(model), rows, tokens);
  const kept = keep ? [hidden] : [];
  try {
    for (let layer = 0; layer < model.spec.layers; layer++) {
      throwIfAborted(signal);
      const { forms, feeds } = await loadBlock(model, layer);
      const program = await programs.get(forms, { mode: "forward", layer, batch, tokens });
      hidden = (await program.run({ ...feeds, hidden }))["out"];
      if (keep) kept.push(hidden);
    }
  } finally {
    await programs.dispose();
  }
  const chunk = Math.min(HEAD_CHUNK, ids.length);
  const head = await HeadRunner.create(model.spec, { ...compile, mode: "logits", chunk });
  try {
    const { logits } = await head.run(ids.length, await loadHead(model), { hidden });
    return { logits: logits, hidden: kept };
  } finally {
    await head.dispose();
  }
}
