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
import type { DenseLinear, Linear, Table } from "../linears/types.js";
import { splitRows, type RowParts } from "../checkpoints/split-rows.js";
import { checkEnds, endTensors, expectNorm, type EndTensor } from "./check-ends.js";
import { showValue } from "./config-fields.js";
import { modelSpec } from "./families/registry.js";
import { ROPE_FACTORS, type Model } from "./model.js";
import { divideFrequencies } from "./rope.js";
import {
  linearSites,
  normHasBias,
  normSites,
  type LinearRole,
  type LinearSite,
  type ModelSpec,
  type NormSite,
} from "./spec.js";

/** The config fields that determine a linear's shape, for messages. */
function shapeFields({ mlp }: ModelSpec, role: LinearRole): string {
  const inner = mlp.kind === "plain" ? "ffn_dim" : "intermediate_size";
  switch (role) {
    case "q":
      return "num_attention_heads x head_dim by hidden_size";
    case "k":
    case "v":
      return "num_key_value_heads x head_dim by hidden_size";
    case "o":
      return "hidden_size by num_attention_heads x head_dim";
    case "gate":
    case "up":
      return `${inner} by hidden_size`;
    case "down":
      return `hidden_size by ${inner}`;
  }
}

/**
 * Opens dense Hugging Face folders, GGUF files, the subbit layout and the layouts of the official implementations. The model owns the checkpoint once this succeeds;
 * when it throws, the checkpoint is still the caller's to close.
 * Throws `input` when the architecture is unsupported or config, manifest and tensors disagree.
 */
export async function openModel(original: Checkpoint): Promise<Model> {
  const manifest = await readManifest(original);
  const found = manifest === undefined ? findLayout(original) : undefined;
  const view = found === undefined ? original : baseView(original, found);
  refuseForeignQuantisation(view, manifest);
  const spec = await withRopeFactors(view, modelSpec(view.config, view.name));
  const checkpoint = manifest === undefined ? splitRows(view, fusedTensors(spec)) : view;
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
    ...endsOf(checkpoint, spec),
    close: () => checkpoint.close(),
  };
  if (checkpoint.readFile !== undefined && layout === undefined) stored.add(model);
  return model;
}

/** Weights and biases of the tensors that hold several linears. */
function* fusedTensors({ names, layers }: ModelSpec): Generator<RowParts> {
  // One layer further, so that a file with more blocks than the config says is seen to have them.
  for (let layer = 0; layer <= layers; layer++) {
    for (const { name, parts } of names.fused?.(layer) ?? []) {
      for (const suffix of ["weight", "bias"]) {
        yield {
          name: `${name}.${suffix}`,
          parts: parts.map((part) => ({ name: `${part.name}.${suffix}`, rows: part.rows })),
        };
      }
    }
  }
}

/** What stands between embedding, blocks and head, where the spec has it. */
function endsOf(checkpoint: Checkpoint, spec: ModelSpec): Pick<Model, "positions" | "projection"> {
  const matrices = new Map(endTensors(spec).map((tensor) => [tensor.end, tensor]));
  const read = async (end: EndTensor["end"]): Promise<DenseLinear> => {
    const { name, shape } = matrices.get(end)!;
    const [rows, cols] = shape;
    const info = expectTensor(checkpoint, name, shape, "the config");
    return { kind: "dense", rows, cols, storage: await readStorage(checkpoint, info) };
  };
  return {
    ...(matrices.has("positions") && { positions: () => read("positions") }),
    ...(matrices.has("in") && { projection: read }),
  };
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
  const [first] = spec.layerKinds;
  if (!checkpoint.tensors.has(ROPE_FACTORS) || first.rope === undefined) return spec;
  const count = first.rope.inverseFrequencies.length;
  expectFloatTensor(checkpoint, ROPE_FACTORS, [count], "half the head dimension (head_dim)");
  const factors = await checkpoint.readF32(ROPE_FACTORS);
  const layerKinds = spec.layerKinds.map(({ rope, ...kind }) => ({
    ...kind,
    ...(rope && { rope: divideFrequencies(rope, factors, checkpoint.name) }),
  }));
  return { ...spec, layerKinds };
}

/** A file with more blocks than the config says would run, and give nonsense. */
function refuseExtraLayers(checkpoint: Checkpoint, spec: ModelSpec): void {
  for (const role of spec.linears) {
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
  const { names, vocabSize } = spec;
  const { embeddingSize } = spec.ends;
  const table = `the config (vocab_size by ${spec.ends.projected ? "word_embed_proj_dim" : "hidden_size"})`;
  expectFloatTensor(checkpoint, names.embedding, [vocabSize, embeddingSize], table);
  if (!spec.tiedHead) {
    if (!checkpoint.tensors.has(names.head)) {
      throw inputError(
        `${checkpoint.name} has no tensor ${names.head}, but its config has tie_word_embeddings = false.`,
      );
    }
    expectFloatTensor(checkpoint, names.head, [vocabSize, embeddingSize], table);
  }
  checkEnds(checkpoint, spec);
  for (const site of linearSites(spec)) checkLinear(checkpoint, spec, layout, site);
  for (const site of normSites(spec)) expectNorm(checkpoint, spec, site);
}

/** Packed linears have been checked but for their bias. */
function checkLinear(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  layout: OpenedLayout | undefined,
  site: LinearSite,
): void {
  const { rows, cols, bias, biasField } = spec.linearShapes[site.role];
  const name = spec.names.linear(site);
  if (layout?.linears.has(name) !== true) {
    expectFloatTensor(
      checkpoint,
      `${name}.weight`,
      [rows, cols],
      `the config (${shapeFields(spec, site.role)})`,
    );
  }
  const rule = (value: boolean): string =>
    biasField === undefined ? `model_type = "${spec.family}"` : `${biasField} = ${value}`;
  if (bias) {
    if (layout?.dropsBias === true && !checkpoint.tensors.has(`${name}.bias`)) return;
    expectFloatTensor(checkpoint, `${name}.bias`, [rows], `the config (${rule(true)})`);
  } else if (checkpoint.tensors.has(`${name}.bias`)) {
    throw inputError(`${checkpoint.name} holds the tensor ${name}.bias, but its config has ${rule(false)}.`);
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
  const { weightOffset } = spec.norm;
  const stored = await checkpoint.readF32(`${name}.weight`);
  const weight = weightOffset === 0 ? stored : stored.map((value) => value + weightOffset);
  if (!normHasBias(spec)) return { weight };
  return { weight, bias: await checkpoint.readF32(`${name}.bias`) };
}

/** The embedding or the head, [vocabSize, embeddingSize]. */
async function readTable(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  weight: string,
  entry: TableEntry | undefined,
): Promise<Table> {
  if (entry !== undefined) return readPackedTable(checkpoint, weight, entry);
  const { vocabSize: rows } = spec;
  const { embeddingSize: cols } = spec.ends;
  const info = expectTensor(checkpoint, weight, [rows, cols], "the config");
  return { kind: "dense", rows, cols, storage: await readStorage(checkpoint, info) };
}
