/** What a model is and what every part of it costs, from its headers alone: no weight is read. */
import { bitsOfOneBit, bitsOfRank, paperBpw } from "../linears/bits.js";
import {
  emptyBytes,
  type FactoredEntry,
  type LinearEntry,
  type OneBitEntry,
  type StoredBytes,
} from "../layouts/manifest.js";
import { linearTensors, matrixTensors, tableTensors } from "../layouts/subbit-tensors.js";
import { packedEntry, type Model } from "./model.js";
import { endTensors } from "./check-ends.js";
import { linearSites, normHasBias, normSites, normSize, type LinearSite, type NormSite } from "./spec.js";

export interface LinearReport {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  /** dbf, nanoquant, littlebit, mdbf, onebit ...; `dense` for a linear that was left alone. */
  readonly method: string;
  /** Dtype of a dense linear's values: F32, BF16, I8, Q4_1 ...; null for a factored or OneBit one. */
  readonly dtype: string | null;
  /** Of the first path; null for a dense or OneBit linear, as `paths` and `envelope`. */
  readonly rank: number | null;
  /** One a path, where they differ. */
  readonly ranks?: readonly number[];
  readonly paths: number | null;
  readonly envelope: number | null;
  /** Stored bits: signs with padding and scales, or dense values; the bias is counted in `bytes.biases` only. */
  readonly bits: number;
  /** bits / (rows * cols) */
  readonly bpw: number;
  /** Bits per weight by the method's published formula; for a dense linear its stored ones. */
  readonly paperBpw: number;
}

/** Bytes of the weight files by what they hold; they sum to `fileBytes`. */
export interface ByteReport extends StoredBytes {
  /** Headers, alignment, and tensors that the model does not use. */
  readonly other: number;
}

export interface ModelReport {
  /** First of `architectures` in config.json, else the model type. */
  readonly architecture: string;
  readonly modelType: string;
  /** `subbit`, an official layout (`littlebit`, `onebit`, `dbf`, `mdbf`, `nanoquant`), else `safetensors`, `pickle` or `gguf`. */
  readonly format: string;
  /** Weights and biases of the dense model that this one stands for. */
  readonly parameters: number;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly vocabSize: number;
  readonly linears: readonly LinearReport[];
  /** Stored bits of all linears (signs, padding, scales) over their rows * cols. */
  readonly bpw: number;
  /** The same by the published formulas. */
  readonly paperBpw: number;
  readonly fileBytes: number;
  readonly bytes: ByteReport;
}

/** Adds up what the model's files hold. The sum of `bytes` is `fileBytes` exactly. */
export function inspectModel(model: Model): ModelReport {
  const { spec, checkpoint } = model;
  const bytes = emptyBytes();
  const linears: LinearReport[] = [];
  let parameters = spec.vocabSize * spec.ends.embeddingSize * (spec.tiedHead ? 1 : 2);

  for (const site of linearSites(spec)) {
    const report = reportLinear(model, site, bytes);
    linears.push(report);
    parameters += report.rows * report.cols + (spec.linearShapes[site.role].bias ? report.rows : 0);
  }
  for (const site of normSites(spec)) parameters += addNorm(model, site, bytes);
  for (const { name, shape, part } of endTensors(spec)) {
    bytes[part] += tensorBytes(model, name);
    parameters += shape[0] * shape[1];
  }
  addTable(model, "embeddings", bytes);
  if (!spec.tiedHead) addTable(model, "head", bytes);

  const weights = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const bits = linears.reduce((sum, linear) => sum + linear.bits, 0);
  const paperBits = linears.reduce((sum, { paperBpw: each, rows, cols }) => sum + each * rows * cols, 0);
  const known = Object.values(bytes).reduce((sum, each) => sum + each, 0);
  return {
    architecture: architectureOf(model),
    modelType: spec.family,
    format: model.manifest === undefined ? (model.layout?.name ?? checkpoint.format) : "subbit",
    parameters,
    layers: spec.layers,
    hiddenSize: spec.hiddenSize,
    vocabSize: spec.vocabSize,
    linears,
    bpw: bits / weights,
    paperBpw: paperBits / weights,
    fileBytes: checkpoint.fileBytes,
    bytes: { ...bytes, other: checkpoint.fileBytes - known },
  };
}

function architectureOf(model: Model): string {
  const listed = model.checkpoint.config["architectures"];
  const first: unknown = Array.isArray(listed) ? listed[0] : undefined;
  return typeof first === "string" ? first : model.spec.family;
}

function reportLinear(model: Model, site: LinearSite, bytes: StoredBytes): LinearReport {
  const { spec } = model;
  const { rows, cols, bias } = spec.linearShapes[site.role];
  const name = spec.names.linear(site);
  const entry: LinearEntry | undefined = packedEntry(model, name);
  if (entry === undefined) {
    const bits = 8 * tensorBytes(model, `${name}.weight`);
    bytes.dense += bits / 8;
    if (bias) bytes.biases += tensorBytes(model, `${name}.bias`);
    return denseReport(model, name, rows, cols, bits);
  }
  const official = model.layout?.linears.get(name);
  if (official !== undefined) {
    for (const { name: tensor, part } of official.tensors) bytes[part] += tensorBytes(model, tensor);
    if (bias) bytes.biases += tensorBytes(model, `${name}.bias`);
    const total = official.tensors.reduce((sum, tensor) => sum + 8 * tensorBytes(model, tensor.name), 0);
    return packedReport(name, official.entry, total);
  }
  for (const { name: tensor, part } of linearTensors(name, entry)) bytes[part] += tensorBytes(model, tensor);
  if (entry.kind === "dense") {
    const plans = matrixTensors(`${name}.weight`, entry, "dense");
    const bits = plans.reduce((sum, plan) => sum + 8 * tensorBytes(model, plan.name), 0);
    return denseReport(model, name, rows, cols, bits);
  }
  return packedReport(
    name,
    entry,
    entry.kind === "onebit" ? bitsOfOneBit(entry).total : bitsOfRank(entry).total,
  );
}

/** @param bits stored ones: signs with padding, and scales */
function packedReport(name: string, entry: FactoredEntry | OneBitEntry, bits: number): LinearReport {
  const { rows, cols } = entry;
  if (entry.kind === "onebit") {
    const bpw = bits / (rows * cols);
    const shape = { rank: null, paths: null, envelope: null };
    // Its formula has no rank.
    const published = paperBpw("onebit", { ...entry, rank: 0, paths: 0, envelope: 0 }) ?? bpw;
    return { name, rows, cols, method: "onebit", dtype: null, ...shape, bits, bpw, paperBpw: published };
  }
  const { method, rank, ranks, paths, envelope } = entry;
  const bpw = bits / (rows * cols);
  const shape = {
    rank,
    ...(ranks?.some((each) => each !== rank) && { ranks }),
    paths,
    envelope,
  };
  const published = paperBpw(method, entry) ?? bpw;
  return { name, rows, cols, method, dtype: null, ...shape, bits, bpw, paperBpw: published };
}

function denseReport(model: Model, name: string, rows: number, cols: number, bits: number): LinearReport {
  const dtype = model.checkpoint.tensors.get(`${name}.weight`)?.dtype ?? null;
  const bpw = bits / (rows * cols);
  const dense = { method: "dense", dtype, rank: null, paths: null, envelope: null };
  return { name, rows, cols, ...dense, bits, bpw, paperBpw: bpw };
}

/** Adds the norm's bytes; its parameters. */
function addNorm(model: Model, site: NormSite, bytes: StoredBytes): number {
  const name = model.spec.names.norm(site);
  bytes.norms += tensorBytes(model, `${name}.weight`);
  const size = normSize(model.spec, site.role);
  if (!normHasBias(model.spec)) return size;
  bytes.norms += tensorBytes(model, `${name}.bias`);
  return 2 * size;
}

function addTable(model: Model, part: "embeddings" | "head", bytes: StoredBytes): void {
  const { names } = model.spec;
  const weight = part === "head" ? names.head : names.embedding;
  const entry = part === "head" ? model.manifest?.head : model.manifest?.embedding;
  const tensors = entry === undefined ? [weight] : tableTensors(weight, entry, part).map(({ name }) => name);
  for (const name of tensors) bytes[part] += tensorBytes(model, name);
}

function tensorBytes(model: Model, name: string): number {
  return model.checkpoint.tensors.get(name)?.bytes ?? 0;
}
