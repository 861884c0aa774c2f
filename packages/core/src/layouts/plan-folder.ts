/**
 * What the folder of a converted model will hold, in an official layout or as dense weights. Nothing here touches a disk
 * (core/node does), and no more than one linear is in memory at a time.
 */
import { SubbitError, inputError, throwIfAborted } from "../errors.js";
import type { TensorToWrite } from "../checkpoints/safetensors/encode.js";
import type { Linear } from "../linears/types.js";
import type { ModelConfig } from "../model/config-fields.js";
import { ROPE_FACTORS, type Model } from "../model/model.js";
import type { LinearSite } from "../model/spec.js";
import type { OnProgress } from "../progress.js";
import { asBytes } from "../tensors/bytes.js";
import { fuseParts } from "./fuse-parts.js";
import {
  endTensorsOf,
  matrixTensor,
  normTensors,
  ropeFactors,
  tableTensor,
  vectorTensor,
} from "./model-tensors.js";
import type {
  EncodedTensor,
  EncodeOptions,
  LinearToWrite,
  OfficialLayout,
  PackedLinear,
} from "./official-layout.js";
import { withoutFields } from "./read-parts.js";
import { refusal } from "./write-parts.js";

export interface FolderPlan {
  readonly weightFile: OfficialLayout["weightFile"];
  /** config.json */
  readonly config: ModelConfig;
  /** Further side files that belong to the layout. */
  readonly texts: ReadonlyMap<string, string>;
  /** In model order. */
  readonly tensors: readonly TensorToWrite[];
  /** Sentences that a user should see. */
  readonly notes: readonly string[];
}

export interface PlanFolderOptions {
  /** @default none */
  readonly onProgress?: OnProgress | undefined;
  /** @default none */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Plans a model in an official layout. Scales are kept exactly: in the layout's own dtype where that holds them, else in
 * a wider one. Throws `input` with the reason where the layout cannot hold the model.
 */
export async function planOfficial(
  layout: OfficialLayout,
  model: Model,
  options: PlanFolderOptions = {},
): Promise<FolderPlan> {
  const encode: EncodeOptions = { source: model.layout };
  if (ropeFactors(model) !== undefined)
    throw refusal(
      layout.name,
      model.checkpoint.name,
      "its rotary frequencies are not those of its config.json",
    );
  for (const which of ["embedding", ...(model.spec.tiedHead ? [] : ["head" as const])] as const) {
    const { kind } = await (which === "embedding" ? model.embedding() : model.head());
    if (kind === "factored")
      throw refusal(
        layout.name,
        model.checkpoint.name,
        `its ${which} is factored, and the layout's is plain`,
      );
  }
  const linears: LinearToWrite[] = [];
  const tensors = await modelTensors(model, options, (site, name, linear) => {
    linears.push(describe(site, name, linear));
    if (linear.kind !== "dense")
      return [
        ...layout.encodeLinear(name, linear, encode).map((tensor) => lazily(tensor, model, site)),
        ...biasTensors(model, layout, name, linear),
      ];
    if (!layout.keepsDense)
      throw refusal(layout.name, name, "it is dense, and all linears of the layout are packed");
    return denseTensors(model, site, name, linear);
  });
  if (linears.every(({ kind }) => kind === "dense")) {
    throw inputError(
      `${model.checkpoint.name} has no packed linears to write in the ${layout.name} layout; compress it first.`,
    );
  }
  const base = baseConfig(model);
  const { config, texts, notes } = layout.encodeConfig(base, model.spec, linears, encode);
  return {
    weightFile: layout.weightFile,
    config,
    texts: texts ?? new Map(),
    tensors: tensors.map((tensor) => ({
      ...tensor,
      name: layout.writtenName?.(tensor.name, encode) ?? tensor.name,
    })),
    notes: [...(notes ?? []), ...widthNotes(layout, linears, tensors)],
  };
}

/**
 * Plans a model as dense weights: packed linears and tables become the F32 matrices they stand for.
 * Throws `input` for OneBit linears, whose LayerNorm cannot be folded into a matrix.
 */
export async function planDense(model: Model, options: PlanFolderOptions = {}): Promise<FolderPlan> {
  const parts = await modelTensors(model, options, (site, name, linear) => {
    if (linear.kind !== "onebit") return denseTensors(model, site, name, linear);
    throw inputError(
      `${model.checkpoint.name} cannot be made dense: ${name} is a OneBit linear, whose LayerNorm cannot be folded into a matrix; convert it to subbit or onebit.`,
    );
  });
  const tensors = fuseParts(parts, model.spec);
  const factors = ropeFactors(model);
  if (factors !== undefined)
    tensors.push({ name: ROPE_FACTORS, dtype: "F32", shape: [factors.length], data: asBytes(factors) });
  return { weightFile: "model.safetensors", config: baseConfig(model), texts: new Map(), tensors, notes: [] };
}

/** Config of the base model: what says how its linears are packed now does not hold for another layout. */
function baseConfig(model: Model): ModelConfig {
  return withoutFields(model.checkpoint.config, ["quantization_config"]);
}

type LinearTensors = (site: LinearSite, name: string, linear: Linear) => TensorToWrite[];

/** All tensors of a model; those of its linears as `ofLinear` has them. */
async function modelTensors(
  model: Model,
  { signal, onProgress }: PlanFolderOptions,
  ofLinear: LinearTensors,
): Promise<TensorToWrite[]> {
  const { spec } = model;
  const tensors: TensorToWrite[] = [await tableTensor(model, "embedding"), ...(await endTensorsOf(model))];
  const total = spec.layers * spec.linears.length;
  let done = 0;
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of spec.norms) tensors.push(...(await normTensors(model, { layer, role })));
    for (const role of spec.linears) {
      throwIfAborted(signal);
      const site: LinearSite = { layer, role };
      tensors.push(...ofLinear(site, spec.names.linear(site), await model.linear(site)));
      onProgress?.({ stage: "read", done: ++done, total, unit: "linears" });
    }
  }
  if (spec.ends.finalNorm) tensors.push(...(await normTensors(model, { role: "final-norm" })));
  if (!spec.tiedHead) tensors.push(await tableTensor(model, "head"));
  return tensors;
}

function denseTensors(model: Model, site: LinearSite, name: string, linear: Linear): TensorToWrite[] {
  return [
    matrixTensor(`${name}.weight`, linear, () => model.linear(site)),
    ...(linear.bias === undefined ? [] : [vectorTensor(model, `${name}.bias`, linear.bias)]),
  ];
}

function biasTensors(
  model: Model,
  layout: OfficialLayout,
  name: string,
  { bias }: PackedLinear,
): TensorToWrite[] {
  if (bias === undefined) return [];
  if (layout.dropsBias !== true) return [vectorTensor(model, `${name}.bias`, bias)];
  if (bias.some((value) => value !== 0))
    throw refusal(layout.name, name, "it has a bias, and the layout has none");
  return [];
}

/** A tensor whose signs are made from the linear, read again, when their turn comes. */
function lazily(tensor: EncodedTensor, model: Model, site: LinearSite): TensorToWrite {
  const { data } = tensor;
  if (typeof data !== "function") return { ...tensor, data };
  return {
    ...tensor,
    data: async () => {
      const linear = await model.linear(site);
      if (linear.kind === "dense")
        throw new SubbitError("internal", `${tensor.name} changed its kind while it was written.`);
      return data(linear);
    },
  };
}

function describe(site: LinearSite, name: string, linear: Linear): LinearToWrite {
  const { kind, rows, cols } = linear;
  const paths = linear.kind === "factored" ? linear.paths : [];
  return {
    site,
    name,
    kind,
    rows,
    cols,
    ranks: paths.map(({ rank }) => rank),
    envelope: paths[0]?.envelope ?? 1,
  };
}

/** Official code computes in one dtype for the whole model and rounds wider scales to it when it loads them. */
function widthNotes(
  layout: OfficialLayout,
  linears: readonly LinearToWrite[],
  tensors: readonly TensorToWrite[],
): string[] {
  const { ownDtype } = layout;
  const prefixes = new Set(linears.filter(({ kind }) => kind !== "dense").map(({ name }) => name));
  const ofLinear = (name: string): boolean => [...prefixes].some((prefix) => name.startsWith(`${prefix}.`));
  const other = tensors.find(
    ({ name, dtype }) =>
      (dtype === "F32" || dtype === "F16" || dtype === "BF16") &&
      dtype !== ownDtype &&
      !name.endsWith(".bias") &&
      ofLinear(name),
  );
  if (other === undefined || ownDtype === "F32") return [];
  return [
    `Scales are written as ${other.dtype} where ${ownDtype}, which the official ${layout.name} code writes, would round them; that code rounds them itself when it loads the model in ${ownDtype}.`,
  ];
}
