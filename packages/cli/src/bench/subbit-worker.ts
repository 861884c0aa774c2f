/** Measures this runtime, through its public interface: ids in, ids out. */
import { openModel, openTokenizer } from "@subbit/core";
import { openCheckpointAt } from "@subbit/core/node";
import { loadModel, type RuntimeModel } from "@subbit/runtime";
import type { OpenOrder } from "./protocol.js";
import { serve, type Engine } from "./worker-loop.js";

serve(async ({ path, threads, contextTokens, runtime }: OpenOrder): Promise<Engine> => {
  const begin = performance.now();
  const checkpoint = await openCheckpointAt(path);
  let model: RuntimeModel;
  try {
    model = await loadModel(await openModel(checkpoint), undefined, {
      ...runtime,
      threads,
      contextTokens,
    });
  } finally {
    await checkpoint.close();
  }
  const loadMs = performance.now() - begin;
  const { capabilities } = model;
  const greedy = { temperature: 0, ignoreEos: true };
  const first = async (ids: readonly number[]): Promise<void> =>
    void (await model.complete(ids, { ...greedy, maxTokens: 1 }));
  return {
    opened: {
      loadMs,
      threads: capabilities.threads,
      about: `${capabilities.simd} SIMD; ${capabilities.why}`,
    },
    clear: () => Promise.resolve(model.reset()),
    prefill: first,
    // The last token is computed again whenever a text that is cached whole is continued.
    rewind: first,
    decode: async (ids, count) => void (await model.complete(ids, { ...greedy, maxTokens: count })),
    tokenizerMs: () => timeTokenizer(path),
  };
});

async function timeTokenizer(path: string): Promise<number | undefined> {
  const checkpoint = await openCheckpointAt(path);
  try {
    if ((await checkpoint.readText("tokenizer.json")) === undefined) return undefined;
    const begin = performance.now();
    await openTokenizer(checkpoint);
    return performance.now() - begin;
  } finally {
    await checkpoint.close();
  }
}
