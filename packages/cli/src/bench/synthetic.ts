/**
 * Packed checkpoints with random signs and scales of a given shape, so that speed and memory of models that cannot be had
 * here are measured too. Written tensor by tensor; nothing is factored, so a 7B takes seconds.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  f32ToF16,
  FORMAT_VERSION,
  inputError,
  normSize,
  linearTensors,
  MANIFEST_FILE,
  matrixTensors,
  modelSpec,
  PLAIN_DTYPE_BYTES,
  rankForBits,
  smallestBpw,
  wordsPerRow,
  type DenseEntry,
  type FactoredEntry,
  type ModelSpec,
  type NormSite,
  type OnProgress,
  type PlainDtype,
  type SubbitManifest,
  type TensorPlan,
  type TensorToWrite,
} from "@subbit/core";
import { writeFolder, writeSafetensors } from "@subbit/core/node";
import { VERSION } from "../version.js";
import { randomBytes, uniform } from "./random-bytes.js";
import { shapeConfig } from "./shapes.js";

export interface SyntheticOptions {
  /** A name of shapes.ts. */
  readonly shape: string;
  /** Honest bits per weight of every linear, an upper bound. */
  readonly bpw: number;
  /** Bits of embedding and head. @default 8 */
  readonly embedBits?: 16 | 8 | 4;
  /** @default false */
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
}

export interface Synthetic {
  /** Weight files. */
  readonly fileBytes: number;
  /** Honest bits per weight, over all linears. */
  readonly bpw: number;
}

/** Hugging Face shards above a few gigabytes. */
const MAX_SHARD_BYTES = 4_000_000_000;
/** How far scales stray from their mean, so that no two rows are alike. */
const SPREAD = 0.25;

/** Writes `folder`, whole or not at all. Same options = same bytes. Throws `input` for a bpw that is too small. */
export async function writeSynthetic(folder: string, options: SyntheticOptions): Promise<Synthetic> {
  const { embedBits = 8, overwrite = false, signal, onProgress } = options;
  const config = shapeConfig(options.shape);
  const spec = modelSpec(config, options.shape);
  const plan = planSynthetic(spec, options.bpw, embedBits);
  const tensorBytes = Object.values(plan.manifest.bytes).reduce((sum, bytes) => sum + bytes, 0);
  return writeFolder(folder, { overwrite, expectedBytes: tensorBytes }, async (temporary) => {
    const json = (name: string, value: unknown): Promise<void> =>
      writeFile(join(temporary, name), `${JSON.stringify(value, null, 2)}\n`);
    const { fileBytes } = await writeSafetensors(join(temporary, "model.safetensors"), plan.tensors, {
      metadata: { format: "pt" },
      maxShardBytes: MAX_SHARD_BYTES,
      ...(signal && { signal }),
      ...(onProgress && { onProgress }),
    });
    const { major, minor } = FORMAT_VERSION;
    await json("config.json", {
      ...config,
      quantization_config: { quant_method: "subbit", format_version: `${major}.${minor}` },
    });
    await json(MANIFEST_FILE, {
      ...plan.manifest,
      recipe: { synthetic: true, shape: options.shape, bpw: options.bpw, embedBits },
    });
    return { fileBytes, bpw: plan.bpw };
  });
}

interface SyntheticPlan {
  readonly tensors: readonly TensorToWrite[];
  readonly manifest: SubbitManifest;
  readonly bpw: number;
}

function planSynthetic(spec: ModelSpec, bpw: number, embedBits: 16 | 8 | 4): SyntheticPlan {
  const bytes = { signs: 0, scales: 0, dense: 0, biases: 0, embeddings: 0, head: 0, norms: 0 };
  const tensors: TensorToWrite[] = [];
  const add = (plan: TensorPlan, make: (seed: number) => Uint8Array): void => {
    const seed = tensors.length;
    const dtype = plan.dtypes[0] as PlainDtype;
    tensors.push({ name: plan.name, dtype, shape: plan.shape, data: () => Promise.resolve(make(seed)) });
    bytes[plan.part] += countOf(plan) * PLAIN_DTYPE_BYTES[dtype];
  };
  const addTable = (weight: string, part: "embeddings" | "head"): DenseEntry => {
    const { vocabSize: rows } = spec;
    const { embeddingSize: cols } = spec.ends;
    const entry: DenseEntry = { kind: "dense", rows, cols, bits: embedBits, biasBits: 0 };
    const [values, scales] = matrixTensors(weight, entry, part) as [TensorPlan, TensorPlan | undefined];
    add(values, (seed) => tableCodes(countOf(values), embedBits, seed));
    if (scales) {
      const size = 0.1 / (embedBits === 8 ? 64 : 4);
      add(scales, (seed) => half(around(rows, size, seed)));
    }
    return entry;
  };
  const addNorm = (site: NormSite): void => {
    const name = `${spec.names.norm(site)}.weight`;
    const plan: TensorPlan = { name, dtypes: ["F16"], shape: [normSize(spec, site.role)], part: "norms" };
    add(plan, (seed) => half(around(countOf(plan), 1, seed)));
  };

  const embedding = addTable(spec.names.embedding, "embeddings");
  const linears: SubbitManifest["linears"] = {};
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of spec.norms) addNorm({ layer, role });
    for (const role of spec.linears) {
      const name = spec.names.linear({ layer, role });
      const entry = factoredEntry(spec.linearShapes[role], bpw);
      linears[name] = entry;
      for (const plan of linearTensors(name, entry)) add(plan, factorMaker(plan, entry));
    }
  }
  addNorm({ role: "final-norm" });
  const head = spec.tiedHead ? undefined : addTable(spec.names.head, "head");
  const manifest: SubbitManifest = {
    format: "subbit",
    formatVersion: { ...FORMAT_VERSION },
    writtenBy: `subbit ${VERSION} bench`,
    linears,
    embedding,
    ...(head && { head }),
    bytes,
    recipe: {},
  };
  const weights = spec.linears.reduce((sum, role) => {
    const { rows, cols } = spec.linearShapes[role];
    return sum + spec.layers * rows * cols;
  }, 0);
  return { tensors, manifest, bpw: (8 * (bytes.signs + bytes.scales)) / weights };
}

/** One path without a middle scale, the form of the method that `compress` chooses by itself. */
function factoredEntry({ rows, cols }: { rows: number; cols: number }, bpw: number): FactoredEntry {
  const rank = rankForBits({ rows, cols, midScale: false, bpw });
  if (rank < 1) {
    const least = Math.ceil(smallestBpw({ rows, cols, midScale: false }) * 1e4) / 1e4;
    throw inputError(
      `${bpw} bits per weight were asked for, but a ${rows} x ${cols} linear needs at least ${least}; ask for that or more.`,
    );
  }
  return {
    kind: "factored",
    method: "nanoquant",
    rows,
    cols,
    rank,
    paths: 1,
    envelope: 1,
    midScale: false,
    scaleBits: 16,
    biasBits: 0,
  };
}

function factorMaker(plan: TensorPlan, entry: FactoredEntry): (seed: number) => Uint8Array {
  if (plan.part === "signs") {
    const length = plan.name.endsWith("out_signs") ? entry.rows : entry.cols;
    return (seed) => signs(entry.rank, length, seed);
  }
  // Two sign products multiply the size of their input by sqrt(rank cols); both scales together undo that.
  const size = (entry.rank * entry.cols) ** -0.25;
  return (seed) => half(around(countOf(plan), size, seed));
}

/** [rows, ceil(cols / 32)] words, padding clear. */
function signs(rows: number, cols: number, seed: number): Uint8Array {
  const stride = wordsPerRow(cols);
  const bytes = randomBytes(rows * stride * 4, seed);
  const used = cols % 32;
  if (used > 0) {
    const words = new Uint32Array(bytes.buffer, 0, rows * stride);
    for (let at = stride - 1; at < words.length; at += stride) words[at] &= 2 ** used - 1;
  }
  return bytes;
}

/** Values of about +-0.1 in 16 bits; codes of all sizes in 8 and 4 bits, but for the smallest, which quantisers do not use. */
function tableCodes(count: number, bits: 16 | 8 | 4, seed: number): Uint8Array {
  if (bits === 16) {
    const bytes = randomBytes(count * 2, seed);
    const halves = new Uint16Array(bytes.buffer, 0, count);
    // Sign and mantissa stay, the exponent becomes that of 1/16 to 1/8.
    for (let i = 0; i < count; i++) halves[i] = (halves[i] & 0x83ff) | 0x2c00;
    return bytes;
  }
  const bytes = randomBytes(count, seed);
  for (let i = 0; i < count; i++) {
    const byte = bytes[i];
    if (bits === 8) bytes[i] = byte === 0x80 ? 0x81 : byte;
    else bytes[i] = byte | ((byte & 15) === 0 ? 1 : 0) | (byte >> 4 === 0 ? 16 : 0);
  }
  return bytes;
}

function around(count: number, mean: number, seed: number): Float32Array {
  return uniform(count, mean * (1 - SPREAD), mean * (1 + SPREAD), seed);
}

function half(values: Float32Array): Uint8Array {
  const halves = f32ToF16(values);
  return new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength);
}

function countOf(plan: TensorPlan): number {
  return plan.shape.reduce((count, size) => count * size, 1);
}
