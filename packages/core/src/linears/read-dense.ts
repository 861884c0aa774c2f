/**
 * Reading tensors of a checkpoint as dense matrices and vectors, after checking that they are what was asked for.
 * Floats stay the bit patterns they are stored as; block-quantised GGUF types become f32.
 */
import { inputError } from "../errors.js";
import { bytesAsU16 } from "../tensors/bytes.js";
import type { Checkpoint, StoredDtype, TensorInfo } from "../checkpoints/types.js";
import type { DenseStorage } from "./types.js";

const INTEGER_DTYPES: ReadonlySet<StoredDtype> = new Set<StoredDtype>(["I8", "U8", "I32", "I64"]);

export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/**
 * The tensor's info when it is there with this shape. `reason` says which config fields ask for it.
 * Throws `input` naming tensor, found and expected shape.
 */
export function expectTensor(
  checkpoint: Checkpoint,
  name: string,
  shape: readonly number[],
  reason: string,
): TensorInfo {
  const info = checkpoint.tensors.get(name);
  if (info === undefined) {
    throw inputError(
      `${checkpoint.name} has no tensor ${name}, which ${reason} asks for with shape ${formatShape(shape)}.`,
    );
  }
  const agrees = info.shape.length === shape.length && info.shape.every((size, i) => size === shape[i]);
  if (!agrees) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} has shape ${formatShape(info.shape)}, but ${reason} asks for ${formatShape(shape)}.`,
    );
  }
  return info;
}

/** As `expectTensor`, for weights: integers are refused. */
export function expectFloatTensor(
  checkpoint: Checkpoint,
  name: string,
  shape: readonly number[],
  reason: string,
): TensorInfo {
  const info = expectTensor(checkpoint, name, shape, reason);
  if (INTEGER_DTYPES.has(info.dtype)) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} has dtype ${info.dtype}, but a weight must be F32, F16, BF16 or a GGUF block type.`,
    );
  }
  return info;
}

/** All values of a float tensor in the storage nearest to how the file holds them. */
export async function readStorage(checkpoint: Checkpoint, info: TensorInfo): Promise<DenseStorage> {
  // GGUF's raw bytes may be in another row order than its values; only readF32 puts them right.
  const raw = checkpoint.format !== "gguf";
  if (raw && info.dtype === "F16") {
    return { dtype: "f16", values: bytesAsU16(await checkpoint.readRaw(info.name)) };
  }
  if (raw && info.dtype === "BF16") {
    return { dtype: "bf16", values: bytesAsU16(await checkpoint.readRaw(info.name)) };
  }
  return { dtype: "f32", values: await checkpoint.readF32(info.name) };
}
