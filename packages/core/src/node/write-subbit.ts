/** Writing a packed model to disk in the subbit layout. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isPlainFileName } from "../checkpoints/file-names.js";
import { SubbitError, throwIfAborted } from "../errors.js";
import { MANIFEST_FILE } from "../layouts/read-manifest.js";
import { planSubbit, type PackedModel } from "../layouts/subbit-write.js";
import type { SubbitManifest } from "../layouts/manifest.js";
import type { OnProgress } from "../progress.js";
import { writeFolder } from "./write-folder.js";
import { writeSafetensors } from "./write-safetensors.js";

/** Hugging Face shards above a few gigabytes; browsers cannot hold larger buffers. */
const MAX_SHARD_BYTES = 4_000_000_000;
/** Room for headers, tokenizer and card when the free space is checked. */
const SIDE_BYTES = 16_000_000;

/** What is known only when the packed file exists, because it is measured on it. */
export interface SubbitFindings {
  readonly quality?: SubbitManifest["quality"];
  /** README.md */
  readonly card?: string;
}

export interface WriteSubbitOptions {
  /** Replaces an existing model folder. @default false */
  readonly overwrite?: boolean;
  /** Side files by name: tokenizer.json, tokenizer_config.json, generation_config.json ... @default none */
  readonly texts?: ReadonlyMap<string, string>;
  /** README.md, the model card. @default none */
  readonly card?: string;
  /**
   * Called with the finished folder while it still stands beside its place: measure there what the manifest and
   * the card shall say. Throwing leaves nothing behind. @default none
   */
  readonly finish?: (folder: string) => Promise<SubbitFindings>;
  /** @default none */
  readonly onProgress?: OnProgress;
  /** @default none */
  readonly signal?: AbortSignal;
}

export interface WrittenSubbit {
  readonly manifest: SubbitManifest;
  /** Bytes of the weight files. */
  readonly fileBytes: number;
}

/** Names that the writer itself gives. */
const OWN_FILES = new Set([
  "config.json",
  "model.safetensors",
  "model.safetensors.index.json",
  MANIFEST_FILE,
  "README.md",
]);

/**
 * Writes `model` to `folder`, whole or not at all. Same model = same bytes.
 * Throws `usage` when the folder exists, `resources` when space runs out, `interrupted` when the signal fires.
 */
export async function writeSubbit(
  folder: string,
  model: PackedModel,
  options: WriteSubbitOptions = {},
): Promise<WrittenSubbit> {
  const { signal, onProgress, overwrite = false } = options;
  throwIfAborted(signal);
  const plan = await planSubbit(model);
  const tensorBytes = Object.values(plan.manifest.bytes).reduce((sum, bytes) => sum + bytes, 0);
  return writeFolder(folder, { overwrite, expectedBytes: tensorBytes + SIDE_BYTES }, async (temporary) => {
    const write = (name: string, text: string): Promise<void> =>
      writeFile(join(temporary, name), text, { flush: true });
    const { fileBytes } = await writeSafetensors(join(temporary, "model.safetensors"), plan.tensors, {
      metadata: { format: "pt" },
      maxShardBytes: MAX_SHARD_BYTES,
      ...(signal && { signal }),
      ...(onProgress && { onProgress }),
    });
    await write("config.json", encodeJson(plan.config));
    for (const [name, text] of options.texts ?? []) {
      if (OWN_FILES.has(name) || !isPlainFileName(name)) {
        throw new SubbitError("internal", `The side file name ${name} cannot be used in the subbit layout.`);
      }
      await write(name, text);
    }
    await write(MANIFEST_FILE, encodeJson(plan.manifest));
    if (options.card !== undefined) await write("README.md", options.card);
    throwIfAborted(signal);
    const findings = (await options.finish?.(temporary)) ?? {};
    const manifest = { ...plan.manifest, ...(findings.quality && { quality: findings.quality }) };
    if (findings.quality !== undefined) await write(MANIFEST_FILE, encodeJson(manifest));
    if (findings.card !== undefined) await write("README.md", findings.card);
    return { manifest, fileBytes };
  });
}

function encodeJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
