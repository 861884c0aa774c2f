/**
 * The manifest entry and the tensors of one linear or table that is written. Which tensors there are is said by
 * subbit-tensors.ts; here they get their bytes. Scales are small and kept from the plan; signs and dense values are
 * read again when their turn comes, so that no more than one linear is in memory.
 */
import type { TensorToWrite } from "../checkpoints/safetensors/encode.js";
import { SubbitError } from "../errors.js";
import { bitsOfDense, factoredShape } from "../linears/bits.js";
import { narrowVector, type NarrowVector } from "../linears/narrow.js";
import { storedForm } from "../linears/round-scales.js";
import { encodeScales } from "../linears/scale-codes.js";
import { transposeSigns } from "../linears/sign-matrix.js";
import type {
  DenseLinear,
  FactoredLinear,
  Linear,
  OneBitLinear,
  ScaleBits,
  Table,
} from "../linears/types.js";
import { asBytes } from "../tensors/bytes.js";
import { f32ToF16 } from "../tensors/half.js";
import type { DenseEntry, FactoredEntry, LinearEntry, OneBitEntry, TableEntry } from "./manifest.js";
import {
  linearTensors,
  oneBitNames,
  pathNames,
  rowScalesName,
  scaleBaseName,
  tableName,
  tableTensors,
  type TensorPlan,
} from "./subbit-tensors.js";

export interface PlannedTensor {
  readonly tensor: TensorToWrite;
  readonly part: TensorPlan["part"];
}

export interface Planned<Entry> {
  readonly entry: Entry;
  /** In the order of the file. */
  readonly tensors: readonly PlannedTensor[];
}

/** What fills a planned tensor, by its name. */
type Payloads = Map<string, Pick<TensorToWrite, "dtype" | "data">>;

/** Gives the same linear as was planned; called when its bytes are written. */
type ReadAgain<T> = () => Promise<T>;

/** Plans a linear called `name` (no `.weight`); `method` is what the manifest calls a factored one. */
export function planLinear(
  name: string,
  linear: Linear,
  method: string,
  read: ReadAgain<Linear>,
): Planned<LinearEntry> {
  const payloads: Payloads = new Map();
  const bias = linear.bias && narrowVector(linear.bias);
  if (bias) payloads.set(`${name}.bias`, vectorPayload(bias));
  const biasBits = bias === undefined ? 0 : bias.dtype === "F32" ? 32 : 16;
  const entry = { ...addLinear(payloads, name, linear, method, read), biasBits } as const;
  return { entry, tensors: filled(linearTensors(name, entry), payloads) };
}

function addLinear(
  payloads: Payloads,
  name: string,
  linear: Linear,
  method: string,
  read: ReadAgain<Linear>,
): LinearEntry {
  switch (linear.kind) {
    case "dense":
      return addMatrix(payloads, `${name}.weight`, linear, read);
    case "onebit":
      return addOneBit(payloads, name, linear, read);
    case "factored":
      return addFactored(payloads, name, linear, method, read);
  }
}

/** Plans an embedding or a head whose weight tensor is (or would be) called `weight`. */
export function planTable(
  weight: string,
  table: Table,
  part: "embeddings" | "head",
  method: string | undefined,
  read: ReadAgain<Table>,
): Planned<TableEntry> {
  const payloads: Payloads = new Map();
  const entry =
    table.kind === "dense"
      ? addMatrix(payloads, weight, table, read)
      : addFactored(payloads, tableName(weight), table, method ?? likelyMethod(table), read);
  return { entry, tensors: filled(tableTensors(weight, entry, part), payloads) };
}

/** The method that makes linears of this shape. */
function likelyMethod(table: FactoredLinear): string {
  const { envelope, paths, midScale } = factoredShape(table);
  if (envelope > 1) return "mdbf";
  if (paths > 1) return "littlebit";
  return midScale ? "dbf" : "nanoquant";
}

function filled(plans: readonly TensorPlan[], payloads: Payloads): PlannedTensor[] {
  return plans.map(({ name, shape, part, dtypes }) => {
    const payload = payloads.get(name);
    if (payload === undefined || !dtypes.includes(payload.dtype))
      throw new SubbitError("internal", `The tensor ${name} was planned without its data.`);
    return { tensor: { name, shape, ...payload }, part };
  });
}

function addFactored(
  payloads: Payloads,
  name: string,
  linear: FactoredLinear,
  method: string,
  read: ReadAgain<Linear>,
): FactoredEntry {
  const { ranks, scaleBits, ...shape } = factoredShape(linear);
  const again = async (): Promise<FactoredLinear> => storedForm(expectKind(await read(), "factored", name));
  storedForm(linear).paths.forEach((path, p) => {
    const names = pathNames(name, p);
    const scales = (tensor: string, values: Float32Array): void =>
      addScales(payloads, tensor, values, path.envelope, scaleBits);
    payloads.set(names.outSigns, {
      dtype: "I32",
      data: async () => asBytes(transposeSigns((await again()).paths[p].outSigns).words),
    });
    payloads.set(names.inSigns, {
      dtype: "I32",
      data: async () => asBytes((await again()).paths[p].inSigns.words),
    });
    scales(names.outScales, path.outScales);
    scales(names.inScales, path.inScales);
    if (path.midIn) scales(names.midIn, path.midIn);
    if (path.midOut) scales(names.midOut, path.midOut);
  });
  return { kind: "factored", method, ...shape, ...(ranks && { ranks: [...ranks] }), scaleBits, biasBits: 0 };
}

function addOneBit(
  payloads: Payloads,
  name: string,
  linear: OneBitLinear,
  read: ReadAgain<Linear>,
): OneBitEntry {
  const { rows, cols, scaleBits = 16 } = linear;
  const { outScales, inScales } = storedForm(linear);
  const names = oneBitNames(name);
  payloads.set(names.signs, {
    dtype: "I32",
    data: async () => asBytes(storedForm(expectKind(await read(), "onebit", name)).signs.words),
  });
  addScales(payloads, names.outScales, outScales, 1, scaleBits);
  addScales(payloads, names.inScales, inScales, 1, scaleBits);
  return { kind: "onebit", method: "onebit", rows, cols, scaleBits, biasBits: 0 };
}

/** Scales in stored form, [vectors, length]; only envelopes above 1 have codes with a sign. */
function addScales(
  payloads: Payloads,
  name: string,
  scales: Float32Array,
  vectors: number,
  scaleBits: ScaleBits,
): void {
  if (scaleBits === 32) {
    payloads.set(name, { dtype: "F32", data: asBytes(scales) });
    return;
  }
  if (scaleBits === 16) {
    payloads.set(name, { dtype: "F16", data: asBytes(f32ToF16(scales)) });
    return;
  }
  const { codes, bases } = encodeScales(scales, vectors, vectors > 1);
  payloads.set(name, { dtype: "U8", data: codes });
  payloads.set(scaleBaseName(name), { dtype: "F16", data: asBytes(f32ToF16(bases)) });
}

const STORAGE_DTYPES = { f32: "F32", f16: "F16", bf16: "BF16", i8: "I8", i4: "U8", i2: "U8" } as const;

function addMatrix(
  payloads: Payloads,
  weight: string,
  matrix: DenseLinear,
  read: ReadAgain<Linear>,
): DenseEntry {
  const { rows, cols, storage } = matrix;
  payloads.set(weight, {
    dtype: STORAGE_DTYPES[storage.dtype],
    data: async () => asBytes(expectKind(await read(), "dense", weight).storage.values),
  });
  if ("rowScales" in storage) {
    const narrow = narrowVector(storage.rowScales);
    // The format has F16 and F32 row scales only.
    const scales: NarrowVector =
      narrow.dtype === "BF16" ? { dtype: "F32", bytes: asBytes(storage.rowScales) } : narrow;
    payloads.set(rowScalesName(weight), vectorPayload(scales));
  }
  return { kind: "dense", rows, cols, bits: bitsOfDense(storage.dtype), biasBits: 0 };
}

function vectorPayload({ dtype, bytes }: NarrowVector): Pick<TensorToWrite, "dtype" | "data"> {
  return { dtype, data: bytes };
}

function expectKind<Kind extends Linear["kind"]>(
  linear: Linear,
  kind: Kind,
  name: string,
): Extract<Linear, { kind: Kind }> {
  if (linear.kind === kind) return linear as Extract<Linear, { kind: Kind }>;
  throw new SubbitError("internal", `${name} changed its kind while it was written.`);
}
