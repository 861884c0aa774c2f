/**
 * The manifest's agreement with config.json and with the tensors of the file: names, dtypes, shapes and sums. All of it
 * is checked before a weight is read, so a wrong file is refused with one sentence.
 */
import { inputError } from "../errors.js";
import { expectTensor } from "../linears/read-dense.js";
import type { Checkpoint } from "../checkpoints/types.js";
import { LINEAR_ROLES, type LinearShape, type ModelSpec } from "../model/spec.js";
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
