/**
 * The OneBit layout (xuyuzhuang11/OneBit): `y = LayerNorm(weight_scale o S (input_factor o x)) + bias`, the norm without
 * weights (arXiv 2402.11295). Its own model type, `bitllama`, is Llama with such linears.
 */
import type { Checkpoint } from "../checkpoints/types.js";
import { isJsonObject } from "../checkpoints/json.js";
import type { ModelConfig } from "../model/config-fields.js";
import type { LinearShape, ModelSpec } from "../model/spec.js";
import type {
  EncodedConfig,
  EncodedTensor,
  EncodeOptions,
  LinearToWrite,
  OfficialLayout,
  PackedLinear,
  StoredLinear,
} from "./official-layout.js";
import { expectRowSigns, expectVector, readFinite, readRowSigns, scaleWidth } from "./read-parts.js";
import { rowBytesFromSigns } from "./sign-bytes.js";
import { oneBitSigns, refusal, scalesTensor, signsTensor } from "./write-parts.js";

const MODEL_TYPE = "bitllama";

export const oneBit: OfficialLayout = {
  name: "onebit",
  weightFile: "pytorch_model.bin",
  ownDtype: "F32",
  keepsDense: false,

  matches: (names) => {
    let found = false;
    for (const name of names) found ||= name.endsWith(".input_factor");
    return found;
  },
  baseConfig: (config) =>
    config["model_type"] === MODEL_TYPE
      ? { ...config, model_type: "llama", architectures: ["LlamaForCausalLM"] }
      : config,
  linear: storedLinear,
  encodeLinear,
  encodeConfig,
};

function storedLinear(
  checkpoint: Checkpoint,
  name: string,
  { rows, cols }: LinearShape,
): StoredLinear | undefined {
  const names = { signs: `${name}.weight`, out: `${name}.weight_scale`, in: `${name}.input_factor` };
  if (!checkpoint.tensors.has(names.out) && !checkpoint.tensors.has(names.in)) return undefined;
  expectRowSigns(checkpoint, names.signs, rows, cols);
  const scales = [expectVector(checkpoint, names.out, rows), expectVector(checkpoint, names.in, cols)];
  return {
    entry: { kind: "onebit", method: "onebit", rows, cols, scaleBits: scaleWidth(scales), biasBits: 0 },
    tensors: [
      { name: names.signs, part: "signs" },
      { name: names.out, part: "scales" },
      { name: names.in, part: "scales" },
    ],
    read: async () => ({
      kind: "onebit",
      rows,
      cols,
      signs: await readRowSigns(checkpoint, names.signs, rows, cols),
      outScales: await readFinite(checkpoint, names.out),
      inScales: await readFinite(checkpoint, names.in),
    }),
  };
}

function encodeLinear(name: string, linear: PackedLinear): EncodedTensor[] {
  if (linear.kind !== "onebit") {
    throw refusal(
      "onebit",
      name,
      "it is a product of two sign matrices, and the layout has one sign a weight and a LayerNorm",
    );
  }
  const { rows, cols, outScales, inScales } = linear;
  if (cols % 8 !== 0)
    throw refusal("onebit", name, `it has ${cols} inputs, and the layout packs rows of whole bytes`);
  return [
    signsTensor(`${name}.weight`, "I8", [rows, cols / 8], rowBytesFromSigns, oneBitSigns),
    scalesTensor(`${name}.weight_scale`, outScales, [rows], "F32"),
    scalesTensor(`${name}.input_factor`, inScales, [cols], "F32"),
  ];
}

function encodeConfig(
  base: ModelConfig,
  spec: ModelSpec,
  _linears: readonly LinearToWrite[],
  { source }: EncodeOptions,
): EncodedConfig {
  if (source?.name === "onebit") return { config: source.original.config };
  if (spec.family !== "llama")
    throw refusal(
      "onebit",
      `a model of the family ${spec.family}`,
      "its official code knows Llama models only",
    );
  // Its transformers is of 2023 and knows these fields only at the top.
  const rope = base["rope_parameters"];
  const theta =
    isJsonObject(rope) && base["rope_theta"] === undefined ? { rope_theta: rope["rope_theta"] } : {};
  return { config: { ...base, ...theta, model_type: MODEL_TYPE, architectures: ["BitLlamaForCausalLMInf"] } };
}
