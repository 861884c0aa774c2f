/** One GGUF file by its own tensor names, as stored: blocks are decoded to f32, rows are not reordered. */
import { SubbitError, inputError } from "../../errors.js";
import { columnsOf, requireTensor, resolveRows, rowSpan } from "../shapes.js";
import type { ByteSource, RowRange, TensorInfo } from "../types.js";
import { DEQUANTISERS } from "./dequantise/index.js";
import { parseGguf, type Metadata } from "./parse.js";

export interface GgufFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly metadata: Metadata;
  /** By GGUF name, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Tensors of types that are not read, with ggml's type id; asking for one throws `input`. */
  readonly unreadable: ReadonlyMap<string, number>;
  readRaw(name: string, rows?: RowRange): Promise<Uint8Array>;
  readF32(name: string, rows?: RowRange): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Opens a GGUF file: reads and checks its header, nothing else. The source is closed when that fails. */
export async function openGguf(source: ByteSource): Promise<GgufFile> {
  const header = await parseGguf(source).catch(async (error: unknown) => {
    await source.close();
    throw error;
  });
  const tensors = new Map<string, TensorInfo>();
  const unreadable = new Map<string, number>();
  for (const { name, shape, type, typeId, offset, bytes } of header.tensors) {
    if (type === undefined) {
      unreadable.set(name, typeId);
      continue;
    }
    tensors.set(name, { name, dtype: type.dtype, shape, bytes, file: source.name, offset });
  }
  const readRaw = async (name: string, rows?: RowRange): Promise<Uint8Array> => {
    const typeId = unreadable.get(name);
    if (typeId !== undefined) {
      throw inputError(
        `Tensor ${name} of ${source.name} is stored as ggml type ${typeId}, which is not read; use a file of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K.`,
      );
    }
    const info = requireTensor(tensors, name, source.name);
    const span = rowSpan(info, resolveRows(info, rows));
    return source.read(info.offset + span.offset, span.length);
  };
  return {
    name: source.name,
    sizeBytes: source.sizeBytes,
    metadata: header.metadata,
    tensors,
    unreadable,
    readRaw,
    readF32: async (name, rows) => {
      const bytes = await readRaw(name, rows);
      const info = tensors.get(name)!;
      const { begin, end } = resolveRows(info, rows);
      const out = allocateF32((end - begin) * columnsOf(info.shape), name);
      DEQUANTISERS[info.dtype](bytes, out);
      return out;
    },
    close: () => source.close(),
  };
}

function allocateF32(length: number, name: string): Float32Array {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw new SubbitError(
      "resources",
      `Tensor ${name} needs ${length * 4} bytes as f32, which could not be had; read it by rows.`,
      { cause },
    );
  }
}
