/** A model loaded to talk to: weights in the runtime's memory, tokenizer at hand. */
import { inputError, openTokenizer, type Tokenizer } from "@subbit/core";
import { loadModel, type KvBits, type RuntimeDevice, type RuntimeModel } from "@subbit/runtime";
import { Option } from "commander";
import type { Context } from "./context.js";
import { withModel } from "./open-source.js";
import { shippedModels } from "./sources.js";

export interface RunningModel {
  readonly source: string;
  readonly runtime: RuntimeModel;
  /** Throws `input` where the source has none. */
  readonly tokenizer: () => Tokenizer;
}

export interface RunOptions {
  /** @default the runtime's own choice */
  readonly threads?: number | undefined;
  /** @default "auto" */
  readonly device?: RuntimeDevice | undefined;
  /** Coarser and faster products. @default false */
  readonly fast?: boolean | undefined;
  /** @default the runtime's own choice */
  readonly kvBits?: KvBits | undefined;
}

export function runDeviceOption(): Option {
  return new Option("--device <device>", "cpu: the runtime; reference: its plain TypeScript twin, slow")
    .choices(["auto", "cpu", "reference"])
    .default("auto");
}

export function fastOption(): Option {
  return new Option(
    "--fast",
    "round to 8 bits instead of 12 in sign products: faster, error 8e-3 instead of 6e-4",
  );
}

/** Shipped models that answer when no source is given, best first. */
const DEFAULT_SOURCES = ["stories-11m-0.8bpw", "stories-11m"];

/** The shipped model that `generate` and `chat` use without a source. */
export function defaultSource(): string {
  const shipped = shippedModels();
  return DEFAULT_SOURCES.find((name) => shipped.includes(name)) ?? DEFAULT_SOURCES[0];
}

/** Loads `source`, runs `body` and ends the runtime's threads whatever happens. */
export async function withRunningModel<R>(
  context: Context,
  source: string,
  { threads, device, fast = false, kvBits }: RunOptions,
  body: (running: RunningModel) => Promise<R>,
): Promise<R> {
  const { signal, onProgress } = context;
  const { runtime, tokenizer } = await withModel(context, source, async (model) => {
    // Ids can be continued without a tokenizer.
    const bare = (await model.checkpoint.readText("tokenizer.json")) === undefined;
    const open = bare ? undefined : () => openTokenizer(model.checkpoint);
    const runtime = await loadModel(model, open, {
      threads,
      device,
      signBits: fast ? 8 : 12,
      kvBits,
      signal,
      onProgress,
    });
    return { runtime, tokenizer: runtime.tokenizer };
  });
  context.endProgress();
  try {
    return await body({
      source,
      runtime,
      tokenizer: () => {
        if (tokenizer !== undefined) return tokenizer;
        throw inputError(
          `${source} has no tokenizer.json, which is needed to read text; add it, or give ids.`,
        );
      },
    });
  } finally {
    await runtime.dispose();
  }
}
