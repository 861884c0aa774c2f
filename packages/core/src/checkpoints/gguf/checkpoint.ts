/** A GGUF file seen as a Hugging Face checkpoint: names mapped, rows in Hugging Face order, side files rebuilt. */
import { SubbitError, inputError } from "../../errors.js";
import { columnsOf, requireTensor, resolveRows, rowsOf } from "../shapes.js";
import type { ByteSource, Checkpoint, TensorInfo } from "../types.js";
import { architectureOf } from "./architectures/index.js";
import { headKindOf, hubName, shiftOf, type GgufArchitecture } from "./architectures/types.js";
import { openGguf, type GgufFile } from "./file.js";
import { coveringHeads, reorderRows } from "./head-rows.js";
import { findCount } from "./metadata.js";
import { sideFile, tokenizerNotes } from "./tokenizer/side-files.js";

/** A tensor under its Hugging Face name. */
interface Mapped {
  /** Name in the file. */
  readonly stored: string;
  /** Rows of a head, where rows are stored in interleaved rotary order. */
  readonly headDim?: number;
  /** Added to the stored values. */
  readonly shift?: number;
}

/** Opens a GGUF file as a checkpoint. Throws `input` for an architecture that is not supported. */
export async function openGgufCheckpoint(source: ByteSource): Promise<Checkpoint> {
  const file = await openGguf(source);
  try {
    const architecture = architectureOf(file.metadata, file.name);
    return asCheckpoint(file, architecture, await configValues(file, architecture));
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** More than any real head has pairs of features. */
const MAX_CONFIG_VALUES = 4096;

async function configValues(
  file: GgufFile,
  { configTensors = [] }: GgufArchitecture,
): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const name of configTensors) {
    const info = file.tensors.get(name);
    if (info === undefined) continue;
    if (info.shape.length !== 1 || rowsOf(info.shape) > MAX_CONFIG_VALUES) {
      throw inputError(
        `Tensor ${name} of ${file.name} has shape [${info.shape.join(", ")}], but it must be a list of at most ${MAX_CONFIG_VALUES} values.`,
      );
    }
    values.set(name, await file.readF32(name));
  }
  return values;
}

function asCheckpoint(
  file: GgufFile,
  architecture: GgufArchitecture,
  values: ReadonlyMap<string, Float32Array>,
): Checkpoint {
  const { metadata } = file;
  if ((findCount(metadata, "split.count") ?? 1) > 1) {
    throw inputError(
      `${file.name} is one part of a split GGUF model; join the parts first (llama-gguf-split --merge).`,
    );
  }
  const config = architecture.config({ metadata, tensors: file.tensors, values });
  const tensors = new Map<string, TensorInfo>();
  const mapped = new Map<string, Mapped>();
  const take = (stored: string): string => {
    const name = hubName(architecture, stored);
    if (mapped.has(name)) throw inputError(`${file.name} has two tensors that both are ${name}.`);
    return name;
  };
  for (const info of file.tensors.values()) {
    const name = take(info.name);
    const kind = headKindOf(architecture, info.name);
    const heads = Number(config[kind === "heads" ? "num_attention_heads" : "num_key_value_heads"]);
    tensors.set(name, { ...info, name });
    const shift = shiftOf(architecture, info.name);
    mapped.set(name, {
      stored: info.name,
      ...(kind !== undefined && { headDim: headDimOf(info, heads, file.name) }),
      ...(shift !== 0 && { shift }),
    });
  }
  for (const stored of file.unreadable.keys()) mapped.set(take(stored), { stored });

  const find = (name: string): Mapped => {
    const found = mapped.get(name);
    if (found === undefined) requireTensor(tensors, name, file.name);
    return found!;
  };
  return {
    format: "gguf",
    name: file.name,
    tensors,
    fileBytes: file.sizeBytes,
    config,
    notes: tokenizerNotes(metadata),
    readRaw: async (name, rows) => {
      const { stored, headDim, shift } = find(name);
      if (headDim !== undefined || shift !== undefined) {
        throw new SubbitError(
          "usage",
          headDim === undefined
            ? `The values of tensor ${name} are stored with 1 added in GGUF files; read it as f32.`
            : `The rows of tensor ${name} are stored in another order in GGUF files; read it as f32.`,
        );
      }
      return file.readRaw(stored, rows);
    },
    readF32: async (name, rows) => {
      const { stored, headDim, shift } = find(name);
      if (shift !== undefined) return (await file.readF32(stored, rows)).map((value) => value + shift);
      if (headDim === undefined) return file.readF32(stored, rows);
      const info = tensors.get(name)!;
      const range = resolveRows(info, rows);
      const values = await file.readF32(stored, coveringHeads(range, headDim));
      return reorderRows(values, range, headDim, columnsOf(info.shape));
    },
    readText: (fileName) =>
      Promise.resolve().then(() =>
        fileName === "config.json" ? JSON.stringify(config) : sideFile(metadata, fileName, config),
      ),
    close: () => file.close(),
  };
}

function headDimOf(info: TensorInfo, heads: number, file: string): number {
  const headDim = rowsOf(info.shape) / heads;
  if (Number.isInteger(headDim) && headDim > 0 && headDim % 2 === 0) return headDim;
  throw inputError(
    `Tensor ${info.name} of ${file} has ${rowsOf(info.shape)} rows, which are not ${heads} heads of an even size.`,
  );
}
