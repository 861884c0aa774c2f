/** Writing what layouts/plan-folder.ts planned, as a folder. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isPlainFileName } from "../checkpoints/file-names.js";
import { declaredBytes } from "../checkpoints/safetensors/encode.js";
import { SubbitError } from "../errors.js";
import type { FolderPlan } from "../layouts/plan-folder.js";
import type { OnProgress } from "../progress.js";
import { writeFolder } from "./write-folder.js";
import { writePickleFile } from "./write-pickle.js";
import { writeSafetensors } from "./write-safetensors.js";

/** Hugging Face shards above a few gigabytes. */
const MAX_SHARD_BYTES = 4_000_000_000;
/** Room for headers and tokenizer when the free space is checked. */
const SIDE_BYTES = 16_000_000;

export interface WritePlanOptions {
  /** Replaces an existing model folder. @default false */
  readonly overwrite?: boolean;
  /** Side files by name: tokenizer.json ... @default none */
  readonly texts?: ReadonlyMap<string, string>;
  /** Called with the finished folder while it still stands beside its place; throwing leaves nothing behind. @default none */
  readonly finish?: (folder: string) => Promise<void>;
  /** @default none */
  readonly onProgress?: OnProgress;
  /** @default none */
  readonly signal?: AbortSignal;
}

/**
 * Writes a planned folder, whole or not at all; the bytes of its weight files.
 * Throws `usage` when the folder exists, `resources` when space runs out, `interrupted` when the signal fires.
 */
export async function writePlan(
  folder: string,
  plan: FolderPlan,
  options: WritePlanOptions = {},
): Promise<number> {
  const { overwrite = false, signal, onProgress } = options;
  const running = { ...(signal && { signal }), ...(onProgress && { onProgress }) };
  const tensorBytes = plan.tensors.reduce((sum, tensor) => sum + declaredBytes(tensor), 0);
  return writeFolder(folder, { overwrite, expectedBytes: tensorBytes + SIDE_BYTES }, async (temporary) => {
    const weights = join(temporary, plan.weightFile);
    const fileBytes = plan.weightFile.endsWith(".safetensors")
      ? (
          await writeSafetensors(weights, plan.tensors, {
            metadata: { format: "pt" },
            maxShardBytes: MAX_SHARD_BYTES,
            ...running,
          })
        ).fileBytes
      : await writePickleFile(weights, plan.tensors, running);
    const texts = new Map([...(options.texts ?? []), ...plan.texts]);
    texts.set("config.json", `${JSON.stringify(plan.config, null, 2)}\n`);
    for (const [name, text] of texts) {
      if (!isPlainFileName(name))
        throw new SubbitError("internal", `The side file name ${name} cannot be used in a model folder.`);
      await writeFile(join(temporary, name), text, { flush: true });
    }
    await options.finish?.(temporary);
    return fileBytes;
  });
}
