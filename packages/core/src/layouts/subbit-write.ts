/**
 * Writing the subbit layout: from a packed model to the tensors, the manifest and the config of its folder. Nothing
 * here touches a disk (core/node does), and no more than one linear is in memory at a time.
 */
import { declaredBytes, type TensorToWrite } from "../checkpoints/safetensors/encode.js";
import { SubbitError } from "../errors.js";
import { denseValues } from "../linears/dense-linear.js";
import { narrowVector, type NarrowVector } from "../linears/narrow.js";
import type { DenseLinear, Linear, Table } from "../linears/types.js";
import { endTensors } from "../model/check-ends.js";
import type { ModelConfig } from "../model/config-fields.js";
import { modelSpec } from "../model/families/registry.js";
import { ROPE_FACTORS } from "../model/model.js";
import type { LinearSite, ModelSpec, NormSite, Projection } from "../model/spec.js";
import {
  emptyBytes,
  FORMAT_VERSION,
  type LinearEntry,
  type SubbitManifest,
  type TableEntry,
} from "./manifest.js";
import { planLinear, planTable, type PlannedTensor } from "./plan-tensors.js";

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
  /** What the manifest calls the method of a factored embedding or head. @default the one its shape speaks of */
  tableMethod?(table: "embedding" | "head"): string;
  /** Stored as it is (`reduceDense` makes a dense one narrower); a factored one in the form of `storedForm`. */
  embedding(): Promise<Table>;
  /** Asked only when the spec's head is not tied. */
  head(): Promise<Table>;
  /** Asked where the spec has learned positions, and for the matrices at its ends; stored in 16 bits where every value fits exactly. */
  positions?(): Promise<DenseLinear>;
  projection?(end: Projection): Promise<DenseLinear>;
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

/**
 * Works out every tensor and the manifest of a packed model. Scales are balanced and rounded to
 * their width (`storedForm`); a linear that was measured in that form is written without further change.
 */
export async function planSubbit(model: PackedModel): Promise<SubbitPlan> {
  const { spec } = model;
  const { names } = spec;
  const bytes = emptyBytes();
  const tensors: TensorToWrite[] = [];
  const add = ({ tensor, part }: PlannedTensor): void => {
    tensors.push(tensor);
    bytes[part] += declaredBytes(tensor);
  };
  const addTable = async (weight: string, which: "embedding" | "head"): Promise<TableEntry> => {
    const read = (): Promise<Table> => model[which]();
    const part = which === "embedding" ? "embeddings" : "head";
    const planned = planTable(weight, await read(), part, model.tableMethod?.(which), read);
    planned.tensors.forEach(add);
    return planned.entry;
  };

  const embedding = await addTable(names.embedding, "embedding");
  for (const { end, name, shape, part } of endTensors(spec)) {
    const matrix = await (end === "positions" ? model.positions?.() : model.projection?.(end));
    if (matrix === undefined) {
      throw new SubbitError("internal", `The model to write has no ${name}, which its spec asks for.`);
    }
    const { dtype, bytes: data } = narrowVector(denseValues(matrix));
    add({ tensor: { name, dtype, shape, data }, part });
  }
  const linears: Record<string, LinearEntry> = {};
  const addNorm = async (site: NormSite): Promise<void> => {
    const { weight, bias } = await model.norm(site);
    const name = names.norm(site);
    const { weightOffset } = spec.norm;
    const stored = weightOffset === 0 ? weight : weight.map((value) => value - weightOffset);
    add({ tensor: vectorTensor(`${name}.weight`, narrowVector(stored)), part: "norms" });
    if (bias !== undefined) add({ tensor: vectorTensor(`${name}.bias`, narrowVector(bias)), part: "norms" });
  };
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of spec.norms) await addNorm({ layer, role });
    for (const role of spec.linears) {
      const site: LinearSite = { layer, role };
      const name = names.linear(site);
      const linear = await model.linear(site);
      expectShape(model, site, name, linear);
      const planned = planLinear(name, linear, model.method(site), () => model.linear(site));
      linears[name] = planned.entry;
      planned.tensors.forEach(add);
    }
  }
  if (spec.ends.finalNorm) await addNorm({ role: "final-norm" });
  const head = spec.tiedHead ? undefined : await addTable(names.head, "head");
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
  const [plain, actual] = [modelSpec(model.config), model.spec].map(
    ({ layerKinds }) => layerKinds[0].rope?.inverseFrequencies,
  );
  if (plain === undefined || actual === undefined) return undefined;
  if (plain.every((frequency, i) => frequency === actual[i])) return undefined;
  return Float32Array.from(plain, (frequency, i) => frequency / actual[i]);
}

function expectShape(model: PackedModel, site: LinearSite, name: string, linear: Linear): void {
  const { rows, cols, bias } = model.spec.linearShapes[site.role];
  if (linear.rows !== rows || linear.cols !== cols || (linear.bias !== undefined) !== bias) {
    throw new SubbitError(
      "internal",
      `The linear ${name} was packed as [${linear.rows}, ${linear.cols}], but the model has [${rows}, ${cols}].`,
    );
  }
}

function vectorTensor(name: string, { dtype, bytes }: NarrowVector): TensorToWrite {
  return { name, dtype, shape: [bytes.length / (dtype === "F32" ? 4 : 2)], data: bytes };
}
