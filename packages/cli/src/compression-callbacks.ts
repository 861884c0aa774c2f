/**
 * What `compress` asks of whoever can run a model: progress, the packed file's logits for verification, and its quality.
 * The library does not know the runtime; the command line brings the two together.
 */
import type { Model } from "@subbit/core";
import type { CompressOptions } from "@subbit/compress";
import { evaluatePerplexity, type PerplexityText } from "@subbit/evaluate";
import { withForward } from "./backends.js";
import type { Context } from "./context.js";
import { withModel } from "./open-source.js";

export interface CallbackOptions {
  readonly threads?: number | undefined;
  /** Held-out text for the quality figures. @default none are taken */
  readonly text?: PerplexityText | undefined;
}

export type CompressionCallbacks = Pick<
  CompressOptions,
  "onProgress" | "signal" | "runtimeLogits" | "measure"
>;

export function compressionCallbacks(
  context: Context,
  teacher: Model,
  options: CallbackOptions,
): CompressionCallbacks {
  const { threads, text } = options;
  const { signal, onProgress } = context;
  return {
    onProgress,
    signal,
    runtimeLogits: (dir, ids) =>
      withModel(context, dir, (packed) =>
        withForward(packed, "cpu", { threads, tokens: ids.length, signal }, async (forward) => {
          const { logits } = await forward.run([...ids], false);
          return logits;
        }),
      ),
    ...(text && { measure: (dir: string) => measure(context, teacher, dir, text, threads) }),
  };
}

/** Perplexities of both as the runtime gives them, and how far the packed model is from its teacher. */
async function measure(
  context: Context,
  teacher: Model,
  dir: string,
  text: PerplexityText,
  threads: number | undefined,
): Promise<Record<string, unknown>> {
  const { signal, onProgress } = context;
  const backend = { threads, tokens: text.seqlen, signal };
  const report = await withModel(context, dir, (packed) =>
    withForward(packed, "cpu", backend, (student) =>
      withForward(teacher, "cpu", backend, (teacherForward) =>
        evaluatePerplexity(text, student, { teacher: teacherForward, onProgress, signal }),
      ),
    ),
  );
  return {
    perplexityTeacher: report.teacher?.ppl,
    perplexity: report.ppl,
    kl: report.kl,
    top1Agreement: report.top1Agreement,
    seqlen: report.seqlen,
    windows: report.windows.length,
  };
}
