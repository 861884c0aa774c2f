/**
 * Writing the subbit layout: from a packed model to the tensors, the manifest and the config of its folder. Nothing
 * here touches a disk (core/node does), and no more than one linear is in memory at a time.
 */
import { declaredBytes, type TensorToWrite } from "../checkpoints/safetensors/encode.js";
import { SubbitError } from "../errors.js";
import { bitsOfDense, factoredShape } from "../linears/bits.js";
import { narrowVector, type NarrowVector } from "../linears/narrow.js";
import { storedForm } from "../linears/round-scales.js";
import { transposeSigns } from "../linears/sign-matrix.js";
import type { DenseLinear, FactoredLinear, Linear, SignMatrix } from "../linears/types.js";
import type { ModelConfig } from "../model/config-fields.js";
import { modelSpec } from "../model/families/registry.js";
import { LINEAR_ROLES, type LinearSite, type ModelSpec, type NormSite } from "../model/spec.js";
import { asBytes } from "../tensors/bytes.js";
import { f32ToF16 } from "../tensors/half.js";
import { FORMAT_VERSION, type DenseEntry, type LinearEntry, type SubbitManifest } from "./manifest.js";
import { emptyBytes } from "./subbit-read.js";
import { linearTensors, matrixTensors, pathNames, rowScalesName, type TensorPlan } from "./subbit-tensors.js";

/** A model to write. Its functions are called more than once and give the same result each time. */
export interface PackedModel {
  readonly spec: ModelSpec;
  /** The teacher's config.json; kept, but for `quantization_config`. */
  readonly config: ModelConfig;
  /** Asked in model order, twice: for the plan, and for the bytes of signs and dense weights. */
  linear(site: LinearSite): Promise<Linear>;
  /** What the manifest calls the method of a factored linear: dbf, nanoquant, littlebit, mdbf. */
  method(site: LinearSite): string;
  /** Stored in 16 bits where every value fits exactly, else in 32. */
  norm(site: NormSite): Promise<{ weight: Float32Array; bias?: Float32Array }>;
  /** Stored as it is: `reduceDense` makes it narrower. */
  embedding(): Promise<Table>;
  /** Asked only when the spec's head is not tied. */
  head(): Promise<Table>;
  /** The program that writes, `subbit 0.1.0`. */
  readonly writtenBy: string;
  readonly recipe: SubbitManifest["recipe"];
  readonly teacherSha256?: string;
  readonly quality?: SubbitManifest["quality"];
}

export interface SubbitPlan {
  readonly manifest: SubbitManifest;
  /** config.json */
  readonly config: ModelConfig;
  /** In model order. */
  readonly tensors: readonly TensorToWrite[];
}

/** Tensors as GGUF files carry them: divisors of the inverse frequencies that config.json alone would give. */
const ROPE_FACTORS = "rope_freqs.weight";

/**
 * Works out every tensor and the manifest of a packed model. Scales are balanced and rounded to 16 bits
 * (`storedForm`); a linear that was measured in that form is written without further change.
 */
export async function planSubbit(model: PackedModel): Promise<SubbitPlan> {
  const { spec } = model;
  const { names } = spec;
  const bytes = emptyBytes();
  const tensors: TensorToWrite[] = [];
  const add = (tensor: TensorToWrite, part: keyof typeof bytes): void => {
    tensors.push(tensor);
    bytes[part] += declaredBytes(tensor);
  };
  const addMatrix = async (
    weight: string,
    part: "embeddings" | "head",
    read: () => Promise<DenseLinear>,
  ): Promise<DenseEntry> => {
    const { entry, tensors: parts } = planMatrix(weight, await read(), part, read);
    parts.forEach((tensor) => add(tensor, part));
    return entry;
  };

  const embedding = await addMatrix(names.embedding, "embeddings", () => model.embedding());
  const linears: Record<string, LinearEntry> = {};
  const addNorm = async (site: NormSite): Promise<void> => {
    const { weight, bias } = await model.norm(site);
    const name = names.norm(site);
    add(vectorTensor(`${name}.weight`, narrowVector(weight)), "norms");
    if (bias !== undefined) add(vectorTensor(`${name}.bias`, narrowVector(bias)), "norms");
  };
  for (let layer = 0; layer < spec.layers; layer++) {
    await addNorm({ layer, role: "attention-norm" });
    await addNorm({ layer, role: "mlp-norm" });
    for (const role of LINEAR_ROLES) {
      const site: LinearSite = { layer, role };
      const name = names.linear(site);
      const planned = planLinear(model, site, name, await model.linear(site));
      linears[name] = planned.entry;
      planned.tensors.forEach(({ tensor, part }) => add(tensor, part));
    }
  }
  await addNorm({ role: "final-norm" });
  const head = spec.tiedHead ? undefined : await addMatrix(names.head, "head", () => model.head());
  const ropeFactors = ropeFactorsOf(model);
  if (ropeFactors !== undefined) tensors.push(vectorTensor(ROPE_FACTORS, narrowVector(ropeFactors)));

  const { writtenBy, recipe, teacherSha256, quality } = model;
  const manifest: SubbitManifest = {
    format: "subbit",
    formatVersion: { ...FORMAT_VERSION },
    writtenBy,
    linears,
    embedding,
    ...(head && { head }),
    bytes,
    recipe,
    ...(teacherSha256 !== undefined && { teacherSha256 }),
    ...(quality && { quality }),
  };
  return { manifest, config: packedConfig(model.config), tensors };
}

/** The teacher's config with the marker that tells other readers what this is. */
function packedConfig(config: ModelConfig): ModelConfig {
  const { major, minor } = FORMAT_VERSION;
  return {
    ...config,
    quantization_config: { quant_method: "subbit", format_version: `${major}.${minor}` },
  };
}

/** Divisors that turn the config's inverse frequencies into the spec's; `undefined` when they are equal already. */
function ropeFactorsOf(model: PackedModel): Float32Array | undefined {
  const plain = modelSpec(model.config).rope.inverseFrequencies;
  const actual = model.spec.rope.inverseFrequencies;
  if (plain.every((frequency, i) => frequency === actual[i])) return undefined;
  return Float32Array.from(plain, (frequency, i) => frequency / actual[i]);
}

interface PlannedLinear {
  readonly entry: LinearEntry;
  readonly tensors: readonly { readonly tensor: TensorToWrite; readonly part: TensorPlan["part"] }[];
}

function planLinear(model: PackedModel, site: LinearSite, name: string, linear: Linear): PlannedLinear {
  const { rows, cols, bias } = model.spec.linearShapes[site.role];
  if (linear.rows !== rows || linear.cols !== cols || (linear.bias !== undefined) !== bias) {
    throw new SubbitError(
      "internal",
      `The linear ${name} was packed as [${linear.rows}, ${linear.cols}], but the model has [${rows}, ${cols}].`,
    );
  }
  const narrowBias = linear.bias && narrowVector(linear.bias);
  const biasBits = narrowBias === undefined ? 0 : narrowBias.dtype === "F32" ? 32 : 16;
  const biasTensors = narrowBias
    ? [{ tensor: vectorTensor(`${name}.bias`, narrowBias), part: "biases" as const }]
    : [];
  if (linear.kind === "dense") {
    const read = async (): Promise<DenseLinear> => expectDense(await model.linear(site), name);
    const { entry, tensors } = planMatrix(`${name}.weight`, linear, "dense", read);
    return {
      entry: { ...entry, biasBits },
      tensors: [...tensors.map((tensor) => ({ tensor, part: "dense" as const })), ...biasTensors],
    };
  }
  const { scaleBits, ...shape } = factoredShape(linear);
  const entry: LinearEntry = { kind: "factored", method: model.method(site), ...shape, scaleBits, biasBits };
  const read = async (): Promise<FactoredLinear> => expectFactored(await model.linear(site), name);
  const data = factoredData(name, storedForm(linear), read);
  const tensors = linearTensors(name, { ...entry, biasBits: 0 }).map((plan) => ({
    tensor: {
      name: plan.name,
      dtype: plan.part === "signs" ? ("I32" as const) : ("F16" as const),
      shape: plan.shape,
      data: data.get(plan.name)!,
    },
    part: plan.part,
  }));
  return { entry, tensors: [...tensors, ...biasTensors] };
}

/** Scales are small and kept from the plan; signs are read again when their turn comes. */
function factoredData(
  name: string,
  stored: FactoredLinear,
  read: () => Promise<FactoredLinear>,
): Map<string, TensorToWrite["data"]> {
  const data = new Map<string, TensorToWrite["data"]>();
  const half = (scales: Float32Array): Uint8Array => asBytes(f32ToF16(scales));
  stored.paths.forEach((path, index) => {
    const names = pathNames(name, index);
    const again = async (pick: (linear: FactoredLinear) => SignMatrix): Promise<Uint8Array> =>
      asBytes(pick(storedForm(await read())).words);
    data.set(names.outSigns, () => again((linear) => transposeSigns(linear.paths[index].outSigns)));
    data.set(names.inSigns, () => again((linear) => linear.paths[index].inSigns));
    data.set(names.outScales, half(path.outScales));
    data.set(names.inScales, half(path.inScales));
    if (path.midIn) data.set(names.midIn, half(path.midIn));
    if (path.midOut) data.set(names.midOut, half(path.midOut));
  });
  return data;
}

/** A dense matrix: its values are read again when their turn comes. */
function planMatrix(
  weight: string,
  matrix: DenseLinear,
  part: "dense" | "embeddings" | "head",
  read: () => Promise<DenseLinear>,
): { entry: DenseEntry; tensors: TensorToWrite[] } {
  const { rows, cols, storage } = matrix;
  const entry: DenseEntry = { kind: "dense", rows, cols, bits: bitsOfDense(storage.dtype), biasBits: 0 };
  const dtypes = { f32: "F32", f16: "F16", bf16: "BF16", i8: "I8", i4: "U8" } as const;
  const [values] = matrixTensors(weight, entry, part);
  const tensors: TensorToWrite[] = [
    {
      name: weight,
      dtype: dtypes[storage.dtype],
      shape: values.shape,
      data: async () => asBytes((await read()).storage.values),
    },
  ];
  if (storage.dtype === "i8" || storage.dtype === "i4") {
    const narrow = narrowVector(storage.rowScales);
    // The format has F16 and F32 row scales only.
    const scales: NarrowVector =
      narrow.dtype === "BF16" ? { dtype: "F32", bytes: asBytes(storage.rowScales) } : narrow;
    tensors.push(vectorTensor(rowScalesName(weight), scales));
  }
  return { entry, tensors };
}

function vectorTensor(name: string, { dtype, bytes }: NarrowVector): TensorToWrite {
  return { name, dtype, shape: [bytes.length / (dtype === "F32" ? 4 : 2)], data: bytes };
}

function expectDense(linear: Linear, name: string): DenseLinear {
  if (linear.kind === "dense") return linear;
  throw new SubbitError("internal", `The linear ${name} changed its kind while it was written.`);
}

function expectFactored(linear: Linear, name: string): FactoredLinear {
  if (linear.kind === "factored") return linear;
  throw new SubbitError("internal", `The linear ${name} changed its kind while it was written.`);
}
