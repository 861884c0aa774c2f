/**
 * Opening a model: a checkpoint of any kind becomes a `Model` after its config was checked against its tensors.
 * No weight is read before the first call of `linear`, `norm`, `embedding` or `head`.
 */
import { inputError } from "../errors.js";
import type { Checkpoint } from "../checkpoints/types.js";
import { checkManifest } from "../layouts/check-manifest.js";
import type { SubbitManifest, TableEntry } from "../layouts/manifest.js";
import type { OpenedLayout } from "../layouts/official-layout.js";
import { baseView, openLayout } from "../layouts/open-layout.js";
import { readManifest } from "../layouts/read-manifest.js";
import { findLayout } from "../layouts/registry.js";
import { readPackedLinear, readPackedTable } from "../layouts/subbit-read.js";
import { expectFloatTensor, expectTensor, readStorage } from "../linears/read-dense.js";
import type { Linear, Table } from "../linears/types.js";
import { showValue } from "./config-fields.js";
import { modelSpec } from "./families/registry.js";
import { ROPE_FACTORS, type Model } from "./model.js";
import { divideFrequencies } from "./rope.js";
import { LINEAR_ROLES, type LinearRole, type LinearSite, type ModelSpec, type NormSite } from "./spec.js";

/** The config fields that determine a linear's shape, for messages. */
const SHAPE_FIELDS: Readonly<Record<LinearRole, string>> = {
  q: "num_attention_heads x head_dim by hidden_size",
  k: "num_key_value_heads x head_dim by hidden_size",
  v: "num_key_value_heads x head_dim by hidden_size",
  o: "hidden_size by num_attention_heads x head_dim",
  gate: "intermediate_size by hidden_size",
  up: "intermediate_size by hidden_size",
  down: "hidden_size by intermediate_size",
};

/**
 * Opens dense Hugging Face folders, GGUF files, the subbit layout and the layouts of the official implementations. The model owns the checkpoint once this succeeds;
 * when it throws, the checkpoint is still the caller's to close.
 * Throws `input` when the architecture is unsupported or config, manifest and tensors disagree.
 */
export async function openModel(original: Checkpoint): Promise<Model> {
  const manifest = await readManifest(original);
  const found = manifest === undefined ? findLayout(original) : undefined;
  const checkpoint = found === undefined ? original : baseView(original, found);
  refuseForeignQuantisation(checkpoint, manifest);
  const spec = await withRopeFactors(checkpoint, modelSpec(checkpoint.config, checkpoint.name));
  refuseExtraLayers(checkpoint, spec);
  const layout = found && openLayout(checkpoint, original, found, spec);
  if (manifest === undefined) checkTensors(checkpoint, spec, layout);
  else checkManifest(checkpoint, spec, manifest);
  const embedding = (): Promise<Table> =>
    readTable(checkpoint, spec, spec.names.embedding, manifest?.embedding);
  const model: Model = {
    spec,
    checkpoint,
    ...(manifest && { manifest }),
    ...(layout && { layout }),
    linear: (site) => readLinear(checkpoint, spec, { manifest, layout }, site),
    norm: (site) => readNorm(checkpoint, spec, site),
    embedding,
    head: () => (spec.tiedHead ? embedding() : readTable(checkpoint, spec, spec.names.head, manifest?.head)),
    close: () => checkpoint.close(),
  };
  if (checkpoint.readFile !== undefined && layout === undefined) stored.add(model);
  return model;
}

/** Models as `openModel` gave them, whose weights are tensors that lie in files as they are named. */
const stored = new WeakSet<Model>();

/**
 * Whether the model's weights may be read from its checkpoint's files directly: what its functions would give is what the
 * tensors hold, checked to be there with these shapes and dtypes. Not for models that someone wrapped, GGUF, nor official layouts.
 */
export function holdsStoredTensors(model: Model): boolean {
  return stored.has(model);
}

/** Weights packed by another quantiser have tensors of other names and shapes; say so before complaining about those. */
function refuseForeignQuantisation(checkpoint: Checkpoint, manifest: SubbitManifest | undefined): void {
  const quantisation = checkpoint.config["quantization_config"];
  if (manifest !== undefined || quantisation === undefined || quantisation === null) return;
  const method = (quantisation as Record<string, unknown>)["quant_method"];
  throw inputError(
    `${checkpoint.name} is quantised with quant_method ${showValue(method)} by its config.json, which is not supported; use the unquantised checkpoint.`,
  );
}

async function withRopeFactors(checkpoint: Checkpoint, spec: ModelSpec): Promise<ModelSpec> {
  if (!checkpoint.tensors.has(ROPE_FACTORS)) return spec;
  const count = spec.rope.inverseFrequencies.length;
  expectFloatTensor(checkpoint, ROPE_FACTORS, [count], "half the head dimension (head_dim)");
  const factors = await checkpoint.readF32(ROPE_FACTORS);
  return { ...spec, rope: divideFrequencies(spec.rope, factors, checkpoint.name) };
}

/** A file with more blocks than the config says would run, and give nonsense. */
function refuseExtraLayers(checkpoint: Checkpoint, spec: ModelSpec): void {
  for (const role of LINEAR_ROLES) {
    const prefix = `${spec.names.linear({ layer: spec.layers, role })}.`;
    for (const name of checkpoint.tensors.keys()) {
      if (name.startsWith(prefix)) {
        throw inputError(
          `${checkpoint.name} holds the tensor ${name}, but its config has num_hidden_layers = ${spec.layers}.`,
        );
      }
    }
  }
}

function checkTensors(checkpoint: Checkpoint, spec: ModelSpec, layout: OpenedLayout | undefined): void {
  const { names, vocabSize, hiddenSize } = spec;
  const table = "the config (vocab_size by hidden_size)";
  expectFloatTensor(checkpoint, names.embedding, [vocabSize, hiddenSize], table);
  if (!spec.tiedHead) {
    if (!checkpoint.tensors.has(names.head)) {
      throw inputError(
        `${checkpoint.name} has no tensor ${names.head}, but its config has tie_word_embeddings = false.`,
      );
    }
    expectFloatTensor(checkpoint, names.head, [vocabSize, hiddenSize], table);
  }
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of LINEAR_ROLES) checkLinear(checkpoint, spec, layout, { layer, role });
    checkNorm(checkpoint, spec, { layer, role: "attention-norm" });
    checkNorm(checkpoint, spec, { layer, role: "mlp-norm" });
  }
  checkNorm(checkpoint, spec, { role: "final-norm" });
}

/** Packed linears have been checked but for their bias. */
function checkLinear(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  layout: OpenedLayout | undefined,
  site: LinearSite,
): void {
  const { rows, cols, bias } = spec.linearShapes[site.role];
  const name = spec.names.linear(site);
  if (layout?.linears.has(name) !== true) {
    expectFloatTensor(checkpoint, `${name}.weight`, [rows, cols], `the config (${SHAPE_FIELDS[site.role]})`);
  }
  const biasField = ["gate", "up", "down"].includes(site.role) ? "mlp_bias" : "attention_bias";
  if (bias) {
    if (layout?.dropsBias === true && !checkpoint.tensors.has(`${name}.bias`)) return;
    expectFloatTensor(checkpoint, `${name}.bias`, [rows], `the config (${biasField} = true)`);
  } else if (checkpoint.tensors.has(`${name}.bias`)) {
    throw inputError(
      `${checkpoint.name} holds the tensor ${name}.bias, but its config has ${biasField} = false.`,
    );
  }
}

function checkNorm(checkpoint: Checkpoint, spec: ModelSpec, site: NormSite): void {
  const name = spec.names.norm(site);
  expectFloatTensor(checkpoint, `${name}.weight`, [spec.hiddenSize], "the config (hidden_size)");
  if (spec.norm.kind === "layer") {
    expectFloatTensor(checkpoint, `${name}.bias`, [spec.hiddenSize], "the config (hidden_size)");
  }
}

async function readLinear(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  { manifest, layout }: { manifest: SubbitManifest | undefined; layout: OpenedLayout | undefined },
  site: LinearSite,
): Promise<Linear> {
  const name = spec.names.linear(site);
  const entry = manifest?.linears[name];
  if (entry !== undefined) return readPackedLinear(checkpoint, name, entry);
  const { rows, cols, bias } = spec.linearShapes[site.role];
  // Only a bias that the layout's code drops can be missing here.
  const values = async (): Promise<Float32Array> =>
    checkpoint.tensors.has(`${name}.bias`) ? checkpoint.readF32(`${name}.bias`) : new Float32Array(rows);
  const stored = layout?.linears.get(name);
  if (stored !== undefined) return { ...(await stored.read()), ...(bias && { bias: await values() }) };
  const info = expectTensor(checkpoint, `${name}.weight`, [rows, cols], "the config");
  return {
    kind: "dense",
    rows,
    cols,
    storage: await readStorage(checkpoint, info),
    ...(bias && { bias: await values() }),
  };
}

async function readNorm(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  site: NormSite,
): Promise<{ weight: Float32Array; bias?: Float32Array }> {
  const name = spec.names.norm(site);
  const weight = await checkpoint.readF32(`${name}.weight`);
  if (spec.norm.kind === "rms") return { weight };
  return { weight, bias: await checkpoint.readF32(`${name}.bias`) };
}

/** The embedding or the head, [vocabSize, hiddenSize]. */
async function readTable(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  weight: string,
  entry: TableEntry | undefined,
): Promise<Table> {
  if (entry !== undefined) return readPackedTable(checkpoint, weight, entry);
  const { vocabSize: rows, hiddenSize: cols } = spec;
  const info = expectTensor(checkpoint, weight, [rows, cols], "the config");
  return { kind: "dense", rows, cols, storage: await readStorage(checkpoint, info) };
}
