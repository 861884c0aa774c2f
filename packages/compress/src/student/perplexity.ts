/** Perplexity of a model state through the engine, for stage tables. The packed file is measured by the runtime. */
import { type ModelSpec, type OnProgress, throwIfAborted } from "@subbit/core";
import { BlockPrograms, type CompileOptions, HeadRunner } from "@subbit/engine";
import { gatherWindows, type Windows } from "../calibrate/windows.js";
import { blockForms, stateFeeds } from "./feeds.js";
import { embed, endsFeeds, type ModelState } from "./model-state.js";

/** Windows that run at once. */
const BATCH = 4;

export interface StatePerplexity {
  readonly perplexity: number;
  /** Mean negative log-likelihood of each window over its seqlen - 1 targets. */
  readonly windows: readonly number[];
}

export interface StatePerplexityOptions extends CompileOptions {
  /** What is measured, for people. @default "evaluate" */
  readonly stage?: string;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/** exp of the mean over windows of their mean negative log-likelihood. */
export async function statePerplexity(
  spec: ModelSpec,
  state: ModelState,
  windows: Windows,
  options: StatePerplexityOptions = {},
): Promise<StatePerplexity> {
  const { stage = "evaluate", onProgress, signal, ...compile } = options;
  const programs = new BlockPrograms(spec, { ...compile, limit: 2 });
  const head = await HeadRunner.create(spec, { ...compile, mode: "loss" });
  const { seqlen } = windows;
  const means: number[] = [];
  try {
    const blocks = state.blocks.map((block) => ({ forms: blockForms(block), feeds: stateFeeds(block) }));
    for (let begin = 0; begin < windows.count; begin += BATCH) {
      throwIfAborted(signal);
      onProgress?.({ stage, done: begin, total: windows.count, unit: "windows" });
      const batch = Math.min(BATCH, windows.count - begin);
      const ids = gatherWindows(
        windows,
        Array.from({ length: batch }, (_, i) => begin + i),
      );
      let hidden = embed(spec, state.ends, ids, seqlen);
      for (const [layer, { forms, feeds }] of blocks.entries()) {
        const program = await programs.get(forms, { mode: "forward", layer, batch, tokens: seqlen });
        hidden = (await program.run({ ...feeds, hidden }))["out"]!;
      }
      const { tokenLoss } = await head.run(ids.length, endsFeeds(state.ends), {
        hidden,
        targets: nextTokens(ids),
      });
      for (let window = 0; window < batch; window++) {
        let sum = 0;
        // The last position's target lies in the next window, or nowhere.
        for (let t = 0; t < seqlen - 1; t++) sum += tokenLoss[window * seqlen + t];
        means.push(sum / (seqlen - 1));
      }
    }
    onProgress?.({ stage, done: windows.count, total: windows.count, unit: "windows" });
  } finally {
    await programs.dispose();
    await head.dispose();
  }
  return { perplexity: Math.exp(means.reduce((sum, nll) => sum + nll, 0) / means.length), windows: means };
}

/** Each position's target: the token behind it; the last one's is arbitrary. */
export function nextTokens(ids: Int32Array): Int32Array {
  const targets = new Int32Array(ids.length);
  targets.set(ids.subarray(1));
  return targets;
}
