/**
 * The LittleBit layout (SamsungLabs/LittleBit; the layout alone, its code is not ours to use):
 * `W = D(u1) S_U D(u2 o v1) S_V D(v2)`, and the same again with the suffix `_R` for the residual path (arXiv 2506.13771).
 */
import type { Checkpoint } from "../checkpoints/types.js";
import type { FactoredLinear, FactoredPath } from "../linears/types.js";
import { wordsPerRow } from "../linears/sign-matrix.js";
import type { ModelConfig } from "../model/config-fields.js";
import type { LinearShape } from "../model/spec.js";
import { planLittleBit, storedBits } from "./littlebit-ranks.js";
import { midFactors, withMidFactors } from "./mid-factors.js";
import type {
  EncodedConfig,
  EncodedTensor,
  EncodeOptions,
  LinearToWrite,
  OfficialLayout,
  PackedLinear,
  StoredLinear,
} from "./official-layout.js";
import {
  expectCount,
  expectVector,
  expectWords,
  readFinite,
  readWords,
  scaleWidth,
  withoutFields,
} from "./read-parts.js";
import { wordsFromSigns } from "./sign-bytes.js";
import {
  expectFactored,
  expectPlainEnvelope,
  integersTensor,
  pathSigns,
  refusal,
  scalarTensor,
  scalesTensor,
  signsTensor,
} from "./write-parts.js";

const CONFIG_FILE = "littlebit_config.json";
/** Of littlebit_config.json, and beside the base model's in config.json. */
const FIELDS = [
  "quant_func",
  "eff_bit",
  "split_dim",
  "residual",
  "kv_factor",
  "min_split_dim",
  "quant_mod",
] as const;

const SUFFIXES = ["", "_R"] as const;

export const littleBit: OfficialLayout = {
  name: "littlebit",
  weightFile: "model.safetensors",
  ownDtype: "BF16",
  keepsDense: false,

  matches: (names) => {
    let packed = false;
    let latent = false;
    for (const name of names) {
      packed ||= name.endsWith(".U_packed");
      latent ||= name.endsWith(".u2");
    }
    return packed && latent;
  },
  baseConfig: (config) => withoutFields(config, FIELDS),
  linear: storedLinear,
  encodeLinear,
  encodeConfig,
};

function storedLinear(checkpoint: Checkpoint, name: string, shape: LinearShape): StoredLinear | undefined {
  if (!checkpoint.tensors.has(`${name}.U_packed`)) return undefined;
  const { rows, cols } = shape;
  const suffixes = SUFFIXES.filter((suffix) => checkpoint.tensors.has(`${name}.U${suffix}_packed`));
  const stored = suffixes.map((suffix) => {
    const [u, v] = [`${name}.U${suffix}_packed`, `${name}.V${suffix}_packed`];
    const rank = expectCount(checkpoint, v, checkpoint.tensors.get(v)?.shape[0], "rank");
    expectWords(checkpoint, u, rows, rank);
    expectWords(checkpoint, v, rank, cols);
    const lengths = { u1: rows, u2: rank, v1: rank, v2: cols };
    const scales = Object.entries(lengths).map(([vector, length]) =>
      expectVector(checkpoint, `${name}.${vector}${suffix}`, length),
    );
    return { suffix, rank, scales, signs: [u, v] };
  });
  const ranks = stored.map(({ rank }) => rank);
  return {
    entry: {
      kind: "factored",
      method: "littlebit",
      rows,
      cols,
      rank: ranks[0],
      ...(new Set(ranks).size > 1 && { ranks }),
      paths: stored.length,
      envelope: 1,
      midScale: true,
      scaleBits: scaleWidth(stored.flatMap(({ scales }) => scales)),
      biasBits: 0,
    },
    tensors: stored.flatMap(({ signs, scales }) => [
      ...signs.map((tensor) => ({ name: tensor, part: "signs" as const })),
      ...scales.map((info) => ({ name: info.name, part: "scales" as const })),
    ]),
    read: async (): Promise<FactoredLinear> => {
      const paths: FactoredPath[] = [];
      for (const { suffix, rank } of stored)
        paths.push(await readPath(checkpoint, name, suffix, rank, shape));
      return { kind: "factored", rows, cols, paths };
    },
  };
}

async function readPath(
  checkpoint: Checkpoint,
  name: string,
  suffix: string,
  rank: number,
  { rows, cols }: LinearShape,
): Promise<FactoredPath> {
  const scales = (vector: string): Promise<Float32Array> =>
    readFinite(checkpoint, `${name}.${vector}${suffix}`);
  const path = {
    rank,
    envelope: 1,
    outSigns: await readWords(checkpoint, `${name}.U${suffix}_packed`, rows, rank),
    inSigns: await readWords(checkpoint, `${name}.V${suffix}_packed`, rank, cols),
    outScales: await scales("u1"),
    inScales: await scales("v2"),
  };
  return withMidFactors(path, { out: await scales("u2"), in: await scales("v1") });
}

function encodeLinear(name: string, linear: PackedLinear, { source }: EncodeOptions): EncodedTensor[] {
  const { rows, cols, paths } = expectFactored("littlebit", name, linear);
  const [{ rank }] = paths;
  if (paths.length > 2)
    throw refusal("littlebit", name, `it has ${paths.length} paths, and the layout has two at most`);
  if (paths.some((path) => path.rank !== rank))
    throw refusal("littlebit", name, "its paths differ in rank, and the layout has one rank for both");
  const tensors = paths.flatMap((path, p): EncodedTensor[] => {
    expectPlainEnvelope("littlebit", name, path);
    const suffix = SUFFIXES[p];
    const factors = midFactors(path);
    const scales = (vector: string, values: Float32Array): EncodedTensor =>
      scalesTensor(`${name}.${vector}${suffix}`, values, [1, values.length], "BF16");
    const signs = (factor: "U" | "V", height: number, width: number): EncodedTensor =>
      signsTensor(
        `${name}.${factor}${suffix}_packed`,
        "I32",
        [height, wordsPerRow(width)],
        wordsFromSigns,
        pathSigns(p, factor === "U" ? "outSigns" : "inSigns"),
      );
    return [
      signs("U", rows, rank),
      signs("V", rank, cols),
      integersTensor(`${name}.U${suffix}_shape`, [rows, rank], [2]),
      integersTensor(`${name}.V${suffix}_shape`, [rank, cols], [2]),
      scales("u1", path.outScales),
      scales("u2", factors.out),
      scales("v1", factors.in),
      scales("v2", path.inScales),
    ];
  });
  const actual = storedBits(rows, cols, rank, paths.length);
  const target = source?.name === "littlebit" ? source.original.config["eff_bit"] : undefined;
  return [
    ...tensors,
    integersTensor(`${name}._split_dim_final`, [rank], []),
    scalarTensor(`${name}._eff_bit_target`, typeof target === "number" ? target : actual),
    scalarTensor(`${name}._eff_bit_actual`, actual),
  ];
}

function encodeConfig(
  base: ModelConfig,
  _spec: unknown,
  linears: readonly LinearToWrite[],
  { source }: EncodeOptions,
): EncodedConfig {
  const paths = linears[0].ranks.length;
  const other = linears.find(({ ranks }) => ranks.length !== paths);
  if (other !== undefined) {
    throw refusal(
      "littlebit",
      other.name,
      `it has ${other.ranks.length} paths where ${linears[0].name} has ${paths}, and the layout's residual flag is one for all`,
    );
  }
  const old = source?.name === "littlebit" ? source.original.config : undefined;
  const { effBit, kvFactor, note } = planLittleBit(linears);
  const settings: Record<(typeof FIELDS)[number], unknown> = {
    quant_func: old?.["quant_func"] ?? "SmoothSign",
    eff_bit: old?.["eff_bit"] ?? effBit,
    split_dim: old?.["split_dim"] ?? Math.max(...linears.map(({ ranks }) => ranks[0])),
    residual: paths === 2,
    kv_factor: old?.["kv_factor"] ?? kvFactor,
    min_split_dim: old?.["min_split_dim"] ?? 8,
    quant_mod: old?.["quant_mod"] ?? "LittleBitLinear",
  };
  return {
    config: { ...base, ...settings },
    texts: new Map([[CONFIG_FILE, `${JSON.stringify(settings, null, 2)}\n`]]),
    ...(old === undefined && note !== undefined && { notes: [note] }),
  };
}
