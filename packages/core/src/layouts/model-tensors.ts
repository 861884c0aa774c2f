/** Tensors of the parts of a model that every folder layout stores plain: embedding, head, norms, biases, dense linears. */
import type { TensorToWrite } from "../checkpoints/safetensors/encode.js";
import { SubbitError } from "../errors.js";
import { denseValues } from "../linears/dense-linear.js";
import { tableValues } from "../linears/table.js";
import type { DenseLinear, Linear, Table } from "../linears/types.js";
import { endTensors } from "../model/check-ends.js";
import { modelSpec } from "../model/families/registry.js";
import { endMatrix, type Model } from "../model/model.js";
import type { NormSite } from "../model/spec.js";
import { asBytes } from "../tensors/bytes.js";
import { exactBytes } from "./write-parts.js";

/** A vector in the dtype that the model's checkpoint has it in, where that is exact, else in F32. */
export function vectorTensor(model: Model, name: string, values: Float32Array): TensorToWrite {
  const stored = model.checkpoint.tensors.get(name)?.dtype;
  const shape = [values.length];
  if (stored === "F16" || stored === "BF16") {
    const data = exactBytes(values, stored);
    if (data !== undefined) return { name, dtype: stored, shape, data };
  }
  return { name, dtype: "F32", shape, data: asBytes(values) };
}

/** Weight and, for a layer norm, bias. */
export async function normTensors(model: Model, site: NormSite): Promise<TensorToWrite[]> {
  const name = model.spec.names.norm(site);
  const { weight, bias } = await model.norm(site);
  const { weightOffset } = model.spec.norm;
  const stored = weightOffset === 0 ? weight : weight.map((value) => value - weightOffset);
  return [
    vectorTensor(model, `${name}.weight`, stored),
    ...(bias === undefined ? [] : [vectorTensor(model, `${name}.bias`, bias)]),
  ];
}

/** Learned positions and the matrices at the ends, where the spec has them. */
export async function endTensorsOf(model: Model): Promise<TensorToWrite[]> {
  const tensors: TensorToWrite[] = [];
  for (const { end, name } of endTensors(model.spec)) {
    const read = (): Promise<DenseLinear> => endMatrix(model, end);
    tensors.push(matrixTensor(name, await read(), read));
  }
  return tensors;
}

/**
 * A matrix of plain floats: as it is stored where those are floats, else what its codes or factors stand for, in F32.
 * Its data are read again when their turn comes.
 */
export function matrixTensor(
  name: string,
  matrix: Linear | Table,
  again: () => Promise<Linear | Table>,
): TensorToWrite {
  const { rows, cols } = matrix;
  const dtype = floatDtype(matrix);
  return { name, dtype, shape: [rows, cols], data: async () => floatBytes(await again(), dtype, name) };
}

type FloatDtype = "F32" | "F16" | "BF16";

function floatDtype(matrix: Linear | Table): FloatDtype {
  if (matrix.kind !== "dense") return "F32";
  const { dtype } = matrix.storage;
  return dtype === "f16" ? "F16" : dtype === "bf16" ? "BF16" : "F32";
}

function floatBytes(matrix: Linear | Table, dtype: FloatDtype, name: string): Uint8Array {
  if (matrix.kind === "onebit") throw new SubbitError("internal", `${name} is no matrix.`);
  if (floatDtype(matrix) !== dtype)
    throw new SubbitError("internal", `${name} changed its dtype while it was written.`);
  if (dtype === "F32") return asBytes(matrix.kind === "dense" ? denseValues(matrix) : tableValues(matrix));
  return asBytes((matrix as DenseLinear).storage.values);
}

/** The embedding or the head as plain floats. */
export async function tableTensor(model: Model, which: "embedding" | "head"): Promise<TensorToWrite> {
  const name = which === "embedding" ? model.spec.names.embedding : model.spec.names.head;
  const read = (): Promise<Table> => (which === "embedding" ? model.embedding() : model.head());
  return matrixTensor(name, await read(), read);
}

/** Divisors of the rotary frequencies that config.json alone does not give; `undefined` where it does. */
export function ropeFactors(model: Model): Float32Array | undefined {
  const plain = modelSpec(model.checkpoint.config).layerKinds[0].rope?.inverseFrequencies;
  const actual = model.spec.layerKinds[0].rope?.inverseFrequencies;
  if (plain === undefined || actual === undefined) return undefined;
  if (plain.every((frequency, i) => frequency === actual[i])) return undefined;
  return Float32Array.from(plain, (frequency, i) => frequency / actual[i]);
}
