/** One safetensors file: its tensors by name, read by range. */
import { inputError } from "../../errors.js";
import { isPlainDtype, plainToF32, type PlainDtype } from "../dtypes.js";
import { requireTensor, resolveRows, rowSpan } from "../shapes.js";
import { readInto } from "../sources.js";
import type { ByteSource, RowRange, TensorInfo } from "../types.js";
import type { WeightFile } from "../weight-file.js";
import { readSafetensorsHeader } from "./header.js";

export interface SafetensorsFile extends WeightFile {
  readonly metadata: Readonly<Record<string, string>>;
}

/** Opens a safetensors file: reads and checks its header, nothing else. The source is closed when that fails. */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const header = await readSafetensorsHeader(source).catch(async (error: unknown) => {
    await source.close();
    throw error;
  });
  const tensors = new Map<string, TensorInfo>();
  const unreadable = new Map<string, string>();
  for (const { name, dtype, shape, bytes, offset } of header.tensors) {
    if (!isPlainDtype(dtype)) {
      unreadable.set(name, dtype);
      continue;
    }
    tensors.set(name, { name, dtype, shape, bytes, file: source.name, offset });
  }

  const readRaw = async (name: string, rows?: RowRange): Promise<Uint8Array> => {
    requireReadable(unreadable, name, source.name);
    const info = requireTensor(tensors, name, source.name);
    const span = rowSpan(info, resolveRows(info, rows));
    return source.read(info.offset + span.offset, span.length);
  };
  return {
    name: source.name,
    sizeBytes: source.sizeBytes,
    tensors,
    metadata: header.metadata,
    unreadable,
    readRaw,
    readF32: async (name, rows) => {
      const bytes = await readRaw(name, rows);
      return plainToF32(tensors.get(name)!.dtype as PlainDtype, bytes, name);
    },
    readFile: (offset, target) => readInto(source, offset, target),
    close: () => source.close(),
  };
}

function requireReadable(unreadable: ReadonlyMap<string, string>, name: string, file: string): void {
  const dtype = unreadable.get(name);
  if (dtype === undefined) return;
  throw inputError(
    `Tensor ${name} of ${file} has dtype ${dtype.slice(0, 40)}, which is not read; convert it to F32, F16, BF16, I8, U8, I32 or I64.`,
  );
}
