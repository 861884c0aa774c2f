/** What a run works on, as a hash: the same text and teacher give the same keys wherever they lie. */
import { createHash } from "node:crypto";
import { type Checkpoint, throwIfAborted } from "@subbit/core";
import { canonicalJson, type Json } from "../ledger/canonical.js";

/** sha256 over config and all tensors (names, dtypes, shapes and values), whatever files hold them. */
export async function checkpointHash(checkpoint: Checkpoint, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  hash.update(canonicalJson(JSON.parse(JSON.stringify(checkpoint.config)) as Json));
  for (const name of [...checkpoint.tensors.keys()].sort()) {
    throwIfAborted(signal);
    const { dtype, shape } = checkpoint.tensors.get(name)!;
    hash.update(canonicalJson({ name, dtype, shape: [...shape] }));
    // GGUF tensors whose rows are put right on reading have no raw form.
    hash.update(
      checkpoint.format !== "gguf" ? await checkpoint.readRaw(name) : bytesOf(await checkpoint.readF32(name)),
    );
  }
  return hash.digest("hex");
}

export function bytesOf(array: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
