/** Measures node-llama-cpp (not a dependency of ours: it is found at run time) on a GGUF file, ids in, ids out. */
import { pathToFileURL } from "node:url";
import { SubbitError } from "@subbit/core";
import type { OpenOrder } from "./protocol.js";
import { serve, type Engine } from "./worker-loop.js";

/** What is used of node-llama-cpp 3. */
interface LlamaLibrary {
  readonly getLlama: (options: Record<string, unknown>) => Promise<Llama>;
  readonly LlamaLogLevel: { readonly error: string };
}
interface Llama {
  loadModel(options: { modelPath: string }): Promise<LlamaModel>;
  readonly systemInfo: string;
}
interface LlamaModel {
  createContext(options: Record<string, unknown>): Promise<LlamaContext>;
}
interface LlamaContext {
  getSequence(): LlamaSequence;
  readonly currentThreads: number;
}
interface LlamaSequence {
  readonly contextTokens: readonly number[];
  clearHistory(): Promise<void>;
  eraseContextTokenRanges(ranges: readonly { start: number; end: number }[]): Promise<void>;
  evaluate(ids: readonly number[], options: Record<string, unknown>): AsyncGenerator<number, void, undefined>;
  evaluateWithoutGeneratingNewTokens(ids: readonly number[]): Promise<void>;
}

/** What node-llama-cpp takes by itself. */
const BATCH_TOKENS = 512;

serve(async ({ path, threads, contextTokens, library }: OpenOrder): Promise<Engine> => {
  if (library === undefined) throw new SubbitError("internal", "The place of node-llama-cpp is missing.");
  const { getLlama, LlamaLogLevel } = (await import(pathToFileURL(library).href)) as LlamaLibrary;
  // Its own file only: nothing is downloaded or built.
  const llama = await getLlama({
    gpu: false,
    build: "never",
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
    ...(threads !== undefined && { maxThreads: threads }),
  });
  const begin = performance.now();
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({
    contextSize: contextTokens,
    batchSize: BATCH_TOKENS,
    ...(threads !== undefined && { threads }),
  });
  const sequence = context.getSequence();
  const loadMs = performance.now() - begin;

  /** Erases what follows the longest common beginning with `ids`; its length. */
  const keep = async (ids: readonly number[]): Promise<number> => {
    const have = sequence.contextTokens;
    let same = 0;
    while (same < have.length && same < ids.length && have[same] === ids[same]) same++;
    if (same < have.length) await sequence.eraseContextTokenRanges([{ start: same, end: have.length }]);
    return same;
  };
  return {
    opened: { loadMs, threads: threads ?? context.currentThreads, about: llama.systemInfo.trim() },
    clear: () => sequence.clearHistory(),
    prefill: (ids) => sequence.evaluateWithoutGeneratingNewTokens(ids),
    rewind: async (ids) => {
      const same = await keep(ids.slice(0, -1));
      const missing = ids.slice(same, -1);
      if (missing.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(missing);
    },
    decode: async (ids, count) => {
      const same = await keep(ids.slice(0, -1));
      let made = 0;
      for await (const id of sequence.evaluate(ids.slice(same), { temperature: 0, yieldEogToken: true })) {
        void id;
        if (++made === count) break;
      }
      if (made < count) {
        throw new SubbitError("internal", `node-llama-cpp stopped after ${made} of ${count} tokens.`);
      }
    },
    tokenizerMs: () => Promise.resolve(undefined),
  };
});
