/**
 * The manifest's agreement with config.json and with the tensors of the file: names, dtypes, shapes and sums. All of it
 * is checked before a weight is read, so a wrong file is refused with one sentence.
 */
import { inputError } from "../errors.js";
import { expectTensor } from "../linears/read-dense.js";
import type { Checkpoint, TensorInfo } from "../checkpoints/types.js";
import { checkEnds, expectNorm } from "../model/check-ends.js";
import { linearSites, normSites, type LinearShape, type ModelSpec } from "../model/spec.js";
import {
  emptyBytes,
  type LinearEntry,
  type StoredBytes,
  type SubbitManifest,
  type TableEntry,
} from "./manifest.js";
import { MANIFEST_FILE } from "./read-manifest.js";
import { linearTensors, tableTensors, type TensorPlan } from "./subbit-tensors.js";

/** Checks the manifest against the spec and every tensor it names; throws `input` at the first disagreement. */
export function checkManifest(checkpoint: Checkpoint, spec: ModelSpec, manifest: SubbitManifest): void {
  const sums = emptyBytes();
  const addAll = (plans: readonly TensorPlan[]): void => {
    for (const plan of plans) sums[plan.part] += expectPlanned(checkpoint, plan);
  };
  const expected = new Set<string>();
  for (const site of linearSites(spec)) {
    const name = spec.names.linear(site);
    expected.add(name);
    addAll(linearTensors(name, expectEntry(checkpoint, manifest, name, spec.linearShapes[site.role])));
  }
  for (const site of normSites(spec)) {
    for (const info of expectNorm(checkpoint, spec, site)) sums.norms += expectPlainFloats(checkpoint, info);
  }
  for (const { info, part } of checkEnds(checkpoint, spec)) sums[part] += expectPlainFloats(checkpoint, info);
  const extra = Object.keys(manifest.linears).find((name) => !expected.has(name));
  if (extra !== undefined) {
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} lists the linear ${extra}, which config.json does not have.`,
    );
  }
  expectTable(checkpoint, spec, manifest.embedding, "embedding");
  addAll(tableTensors(spec.names.embedding, manifest.embedding, "embeddings"));
  if ((manifest.head === undefined) !== spec.tiedHead) {
    throw inputError(
      `config.json of ${checkpoint.name} has tie_word_embeddings = ${spec.tiedHead}, but ${MANIFEST_FILE} ${manifest.head ? "has" : "lacks"} a head.`,
    );
  }
  if (manifest.head !== undefined) {
    expectTable(checkpoint, spec, manifest.head, "head");
    addAll(tableTensors(spec.names.head, manifest.head, "head"));
  }
  for (const part of Object.keys(sums) as (keyof StoredBytes)[]) {
    if (sums[part] !== manifest.bytes[part]) {
      throw inputError(
        `${MANIFEST_FILE} of ${checkpoint.name} says bytes.${part} = ${manifest.bytes[part]}, but the tensors hold ${sums[part]}.`,
      );
    }
  }
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

function expectTable(checkpoint: Checkpoint, spec: ModelSpec, entry: TableEntry, what: string): void {
  const cols = spec.ends.embeddingSize;
  if (entry.rows !== spec.vocabSize || entry.cols !== cols || entry.biasBits !== 0) {
    const field = spec.ends.projected ? "word_embed_proj_dim" : "hidden_size";
    throw inputError(
      `${MANIFEST_FILE} of ${checkpoint.name} gives the ${what} the shape [${entry.rows}, ${entry.cols}]${entry.biasBits ? " and a bias" : ""}, but config.json asks for [${spec.vocabSize}, ${cols}] (vocab_size, ${field}).`,
    );
  }
}

/** Norms and the matrices at the ends are stored as floats of 16 or 32 bits; the bytes. */
function expectPlainFloats(checkpoint: Checkpoint, { name, dtype, bytes }: TensorInfo): number {
  if (["F32", "F16", "BF16"].includes(dtype)) return bytes;
  throw inputError(
    `Tensor ${name} of ${checkpoint.name} has dtype ${dtype}, but ${MANIFEST_FILE} asks for F32 or F16 or BF16.`,
  );
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
