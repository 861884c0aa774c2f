/**
 * The ways to run a model, behind one interface: the runtime that users run (cpu), the plain TypeScript reference, and
 * the training engine. They must agree; `logits --device` and `eval --device` let anyone check.
 */
import { referenceFinalNorm, referenceForward, type Model, type OnProgress } from "@subbit/core";
import type { LogitTile, Scorer } from "@subbit/evaluate";
import { loadModel, type KvBits } from "@subbit/runtime";
import { Option } from "commander";

export type Backend = "cpu" | "reference" | "engine";

export interface BackendOptions {
  readonly threads?: number | undefined;
  /** Of the runtime's cache. @default the runtime's own choice */
  readonly kvBits?: KvBits | undefined;
  /** Longest sequence that will be asked for. @default the runtime's default context */
  readonly tokens?: number | undefined;
  readonly signal: AbortSignal;
  readonly onProgress?: OnProgress | undefined;
}

export interface ForwardOutput {
  /** [tokens, vocab] */
  readonly logits: Float32Array;
  /** layers + 1 arrays [tokens, hiddenSize]: entering block 0, leaving each block, the last one after the final norm. */
  readonly hidden?: readonly Float32Array[];
}

export interface Forward extends Scorer {
  /** From position 0; hidden states only when asked for. */
  run(ids: readonly number[], hidden: boolean): Promise<ForwardOutput>;
  dispose(): Promise<void>;
}

export function deviceOption(): Option {
  return new Option(
    "--device <device>",
    "cpu: the runtime; reference: plain TypeScript, slow; engine: the training engine",
  )
    .choices(["auto", "cpu", "reference", "engine"])
    .default("auto");
}

export interface DeviceOptions {
  readonly device: Backend | "auto";
}

/** Runs `body` with the model on a device and frees the device whatever happens; the model stays the caller's. */
export async function withForward<R>(
  model: Model,
  device: Backend | "auto",
  options: BackendOptions,
  body: (forward: Forward) => Promise<R>,
): Promise<R> {
  const forward = await openForward(model, device, options);
  try {
    return await body(forward);
  } finally {
    await forward.dispose();
  }
}

function openForward(model: Model, device: Backend | "auto", options: BackendOptions): Promise<Forward> {
  switch (device) {
    case "reference":
      return Promise.resolve(wholeForward(model, (ids) => referenceForward(model, ids)));
    case "engine":
      return Promise.resolve(
        wholeForward(model, (ids, hidden) => engineForward(model, ids, hidden, options)),
      );
    case "auto":
    case "cpu":
      return runtimeForward(model, options);
  }
}

async function runtimeForward(
  model: Model,
  { threads, kvBits, tokens, signal, onProgress }: BackendOptions,
): Promise<Forward> {
  const contextTokens = tokens === undefined ? undefined : Math.min(tokens, model.spec.maxPositions);
  const runtime = await loadModel(model, undefined, { threads, kvBits, contextTokens, signal, onProgress });
  return {
    name: runtime.name,
    vocabSize: runtime.vocabSize,
    run: async (ids, hidden) => ({
      logits: await runtime.logits(ids, { signal }),
      ...(hidden && { hidden: await runtime.hidden(ids, { signal }) }),
    }),
    tiles: (ids, tilesSignal = signal, from = 0) => runtime.tiles(ids, tilesSignal, from),
    dispose: () => runtime.dispose(),
  };
}

async function engineForward(
  model: Model,
  ids: readonly number[],
  hidden: boolean,
  { threads, signal }: BackendOptions,
): Promise<ForwardOutput> {
  // Loaded on demand: commands that do not train should not wait for ONNX Runtime.
  const { modelForward } = await import("@subbit/engine");
  const output = await modelForward(model, ids, {
    hidden,
    signal,
    ...(threads !== undefined && { threads }),
  });
  if (!hidden) return { logits: output.logits };
  const states = [...output.hidden];
  // The engine gives what leaves the last block; here the last state is taken after the final norm.
  states[model.spec.layers] = await referenceFinalNorm(model, states[model.spec.layers]);
  return { logits: output.logits, hidden: states };
}

/** A backend that gives all positions at once. */
function wholeForward(
  model: Model,
  run: (ids: readonly number[], hidden: boolean) => Promise<ForwardOutput>,
): Forward {
  return {
    name: model.checkpoint.name,
    vocabSize: model.spec.vocabSize,
    run,
    async *tiles(ids, _signal, from = 0): AsyncGenerator<LogitTile> {
      const { logits } = await run([...ids], false);
      yield { count: ids.length - from, logits: logits.subarray(from * model.spec.vocabSize) };
    },
    dispose: () => Promise.resolve(),
  };
}
