/**
 * Reading the subbit layout: the manifest, its agreement with config and tensors, and the packed linears themselves.
 * Everything is checked before a weight is read, so a wrong file is refused with one sentence.
 */
import { z } from "zod";
import { inputError } from "../errors.js";
import { expectTensor, readStorage } from "../linears/read-dense.js";
import { paddingIsClear, transposeSigns } from "../linears/sign-matrix.js";
import type { Checkpoint } from "../checkpoints/types.js";
import type {
  DenseLinear,
  DenseStorage,
  FactoredLinear,
  FactoredPath,
  SignMatrix,
} from "../linears/types.js";
import { LINEAR_ROLES, type LinearShape, type ModelSpec } from "../model/spec.js";
import { bytesAsU32 } from "../tensors/bytes.js";
import {
  FORMAT_VERSION,
  manifestSchema,
  type DenseEntry,
  type FactoredEntry,
  type LinearEntry,
  type StoredBytes,
  type SubbitManifest,
} from "./manifest.js";
import { linearTensors, matrixTensors, pathNames, rowScalesName, type TensorPlan } from "./subbit-tensors.js";

export const MANIFEST_FILE = "subbit.json";
const MAX_MANIFEST_CHARS = 64 * 2 ** 20;

const versionHeader = z.object({
  format: z.literal("subbit"),
  formatVersion: z.object({ major: z.number() }),
  writtenBy: z.string().max(200).optional(),
});

/** The manifest of a checkpoint in the subbit layout; `undefined` for any other checkpoint. */
export async function readManifest(checkpoint: Checkpoint): Promise<SubbitManifest | undefined> {
  const text = await checkpoint.readText(MANIFEST_FILE);
  if (text === undefined) {
    const quantisation = checkpoint.config["quantization_config"];
    if (isRecord(quantisation) && quantisation["quant_method"] === "subbit") {
      throw inputError(
        `${checkpoint.name} is in the subbit layout by its config.json, but ${MANIFEST_FILE} is missing.`,
      );
    }
    return undefined;
  }
  return parseManifest(text, checkpoint.name);
}

/** Parses subbit.json; `source` is what messages call its folder. */
export function parseManifest(text: string, source: string): SubbitManifest {
  if (text.length > MAX_MANIFEST_CHARS)
    throw inputError(`${MANIFEST_FILE} of ${source} is larger than 64 MiB.`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw inputError(`${MANIFEST_FILE} of ${source} is not valid JSON.`, { cause });
  }
  const header = versionHeader.safeParse(json);
  if (!header.success)
    throw inputError(`${MANIFEST_FILE} of ${source} does not say which format version it has.`);
  const { major } = header.data.formatVersion;
  if (major !== FORMAT_VERSION.major) {
    throw inputError(
      `${source} was written by ${header.data.writtenBy ?? "an unknown program"} in version ${major} of the subbit format, but this program reads version ${FORMAT_VERSION.major}; use the program that wrote it, or convert it again.`,
    );
  }
  const result = manifestSchema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw inputError(
    `${MANIFEST_FILE} of ${source} is malformed at ${issue.path.join(".")}: ${issue.message}.`,
  );
}

/** Checks the manifest against the spec and every tensor it names; throws `input` at the first disagreement. */
export function checkManifest(checkpoint: Checkpoint, spec: ModelSpec, manifest: SubbitManifest): void {
  const sums = emptyBytes();
  const addAll = (plans: readonly TensorPlan[]): void => {
    for (const plan of plans) sums[plan.part] += expectPlanned(checkpoint, plan);
  };
  const expected = new Set<string>();
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of LINEAR_ROLES) {
      const name = spec.names.linear({ layer, role });
      expected.add(name);
      addAll(linearTensors(name, expectEntry(checkpoint, manifest, name, spec.linearShapes[role])));
    }
    for (const role of ["attention-norm", "mlp-norm"] as const) {
      sums.norms += expectNorm(checkpoint, spec, spec.names.norm({ layer, role }));
    }
  }
  sums.norms += expectNorm(checkpoint, spec, spec.names.norm({ role: "final-norm" }));
  const extra = Object.keys(manifest.linears).find((name) => !expected.has(name));
  if (extra !== undefined) {
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} lists the linear ${extra}, which config.json does not have.`,
    );
  }
  expectTable(checkpoint, spec, manifest.embedding, "embedding");
  addAll(matrixTensors(spec.names.embedding, manifest.embedding, "embeddings"));
  if ((manifest.head === undefined) !== spec.tiedHead) {
    throw inputError(
      `config.json of ${checkpoint.name} has tie_word_embeddings = ${spec.tiedHead}, but ${MANIFEST_FILE} ${manifest.head ? "has" : "lacks"} a head.`,
    );
  }
  if (manifest.head !== undefined) {
    expectTable(checkpoint, spec, manifest.head, "head");
    addAll(matrixTensors(spec.names.head, manifest.head, "head"));
  }
  for (const part of Object.keys(sums) as (keyof StoredBytes)[]) {
    if (sums[part] !== manifest.bytes[part]) {
      throw inputError(
        `${MANIFEST_FILE} of ${checkpoint.name} says bytes.${part} = ${manifest.bytes[part]}, but the tensors hold ${sums[part]}.`,
      );
    }
  }
}

export function emptyBytes(): StoredBytes {
  return { signs: 0, scales: 0, dense: 0, biases: 0, embeddings: 0, head: 0, norms: 0 };
}

function expectEntry(
  checkpoint: Checkpoint,
  manifest: SubbitManifest,
  name: string,
  shape: LinearShape,
): LinearEntry {
  const entry = Object.hasOwn(manifest.linears, name) ? manifest.linears[name] : undefined;
  if (entry === undefined) {
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} lacks the linear ${name}, which config.json asks for.`,
    );
  }
  if (entry.rows !== shape.rows || entry.cols !== shape.cols) {
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} gives ${name} the shape [${entry.rows}, ${entry.cols}], but config.json asks for [${shape.rows}, ${shape.cols}].`,
    );
  }
  if ((entry.biasBits !== 0) !== shape.bias) {
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} gives ${name} ${entry.biasBits === 0 ? "no" : "a"} bias, but config.json asks for ${shape.bias ? "one" : "none"}.`,
    );
  }
  return entry;
}

function expectTable(checkpoint: Checkpoint, spec: ModelSpec, entry: DenseEntry, what: string): void {
  if (entry.rows !== spec.vocabSize || entry.cols !== spec.hiddenSize || entry.biasBits !== 0) {
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} gives the ${what} the shape [${entry.rows}, ${entry.cols}]${entry.biasBits ? " and a bias" : ""}, but config.json asks for [${spec.vocabSize}, ${spec.hiddenSize}] (vocab_size, hidden_size).`,
    );
  }
}

function expectNorm(checkpoint: Checkpoint, spec: ModelSpec, name: string): number {
  const plan: TensorPlan = {
    name: `${name}.weight`,
    dtypes: ["F32", "F16", "BF16"],
    shape: [spec.hiddenSize],
    part: "norms",
  };
  const bytes = expectPlanned(checkpoint, plan);
  return spec.norm.kind === "layer"
    ? bytes + expectPlanned(checkpoint, { ...plan, name: `${name}.bias` })
    : bytes;
}

/** Checks one tensor; its bytes. */
function expectPlanned(checkpoint: Checkpoint, plan: TensorPlan): number {
  const info = expectTensor(checkpoint, plan.name, plan.shape, MANIFEST_FILE);
  if (!plan.dtypes.includes(info.dtype)) {
    throw inputError(
      `Tensor ${plan.name} of ${checkpoint.name} has dtype ${info.dtype}, but ${MANIFEST_FILE} asks for ${plan.dtypes.join(" or ")}.`,
    );
  }
  return info.bytes;
}

/** Reads a linear of the subbit layout; `checkManifest` has passed. */
export async function readPackedLinear(
  checkpoint: Checkpoint,
  name: string,
  entry: LinearEntry,
): Promise<FactoredLinear | DenseLinear> {
  const bias = entry.biasBits === 0 ? {} : { bias: await checkpoint.readF32(`${name}.bias`) };
  if (entry.kind === "dense")
    return { ...(await readPackedMatrix(checkpoint, `${name}.weight`, entry)), ...bias };
  const paths: FactoredPath[] = [];
  for (let p = 0; p < entry.paths; p++) paths.push(await readPath(checkpoint, name, p, entry));
  return { kind: "factored", rows: entry.rows, cols: entry.cols, paths, ...bias };
}

async function readPath(
  checkpoint: Checkpoint,
  linear: string,
  index: number,
  entry: FactoredEntry,
): Promise<FactoredPath> {
  const { rows, cols, rank, envelope, midScale } = entry;
  const names = pathNames(linear, index);
  const outSigns = await readSigns(checkpoint, names.outSigns, rank, rows);
  return {
    rank,
    envelope,
    outSigns: transposeSigns(outSigns),
    inSigns: await readSigns(checkpoint, names.inSigns, rank, cols),
    outScales: await readScales(checkpoint, names.outScales),
    inScales: await readScales(checkpoint, names.inScales),
    ...(midScale && { midIn: await readScales(checkpoint, names.midIn) }),
    ...(midScale && envelope > 1 && { midOut: await readScales(checkpoint, names.midOut) }),
  };
}

async function readSigns(
  checkpoint: Checkpoint,
  name: string,
  rows: number,
  cols: number,
): Promise<SignMatrix> {
  const matrix = { rows, cols, words: bytesAsU32(await checkpoint.readRaw(name)) };
  if (!paddingIsClear(matrix)) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} has set bits in its padding; the file is damaged.`,
    );
  }
  return matrix;
}

async function readScales(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const scales = await checkpoint.readF32(name);
  if (!scales.every(Number.isFinite)) {
    throw inputError(
      `Tensor ${name} of ${checkpoint.name} holds a scale that is not finite; the file is damaged.`,
    );
  }
  return scales;
}

/** Reads a dense matrix of the subbit layout: 32 or 16-bit floats, or 8 or 4-bit codes with row scales. */
export async function readPackedMatrix(
  checkpoint: Checkpoint,
  weight: string,
  entry: DenseEntry,
): Promise<DenseLinear> {
  return {
    kind: "dense",
    rows: entry.rows,
    cols: entry.cols,
    storage: await readPackedStorage(checkpoint, weight, entry.bits),
  };
}

async function readPackedStorage(
  checkpoint: Checkpoint,
  weight: string,
  bits: DenseEntry["bits"],
): Promise<DenseStorage> {
  const info = checkpoint.tensors.get(weight);
  if (info === undefined) throw inputError(`${checkpoint.name} has no tensor ${weight}.`);
  if (bits >= 16) return readStorage(checkpoint, info);
  const codes = await checkpoint.readRaw(weight);
  const rowScales = await readScales(checkpoint, rowScalesName(weight));
  return bits === 8
    ? { dtype: "i8", values: new Int8Array(codes.buffer, codes.byteOffset, codes.byteLength), rowScales }
    : { dtype: "i4", values: codes, rowScales };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
