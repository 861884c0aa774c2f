/**
 * The MDBF layout (FujitsuResearch/OneCompression):
 * `W = sum over p of [S_A o (A_amp Q_U_amp^T)] [S_B o (Q_V_amp B_amp^T)]`, o elementwise (arXiv 2512.24545).
 */
import { isJsonObject } from "../checkpoints/json.js";
import type { Checkpoint } from "../checkpoints/types.js";
import { paperBpw } from "../linears/bits.js";
import type { FactoredLinear, FactoredPath } from "../linears/types.js";
import type { ModelConfig } from "../model/config-fields.js";
import type { LinearShape, ModelSpec } from "../model/spec.js";
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
  expectFlatSigns,
  expectMatrix,
  readFinite,
  readFlatSigns,
  scaleWidth,
  withoutFields,
} from "./read-parts.js";
import { flatBytes, flatBytesFromSigns } from "./sign-bytes.js";
import { expectFactored, integersTensor, pathSigns, scalesTensor, signsTensor } from "./write-parts.js";

/** More than any model has; stops a search among hostile names. */
const MAX_PATHS = 8;
const MAX_ENVELOPE = 64;
const QUANTISATION = "quantization_config";

export const mdbf: OfficialLayout = {
  name: "mdbf",
  weightFile: "model.safetensors",
  ownDtype: "F16",
  keepsDense: true,

  matches: (names) => {
    let found = false;
    for (const name of names) found ||= name.endsWith(".A_sign_packed");
    return found;
  },
  baseConfig: (config) => {
    const quantisation = config[QUANTISATION];
    const own = isJsonObject(quantisation) && quantisation["quant_method"] === "mdbf";
    return own ? withoutFields(config, [QUANTISATION]) : config;
  },
  linear: storedLinear,
  encodeLinear,
  encodeConfig,
};

function storedLinear(checkpoint: Checkpoint, name: string, shape: LinearShape): StoredLinear | undefined {
  const { rows, cols } = shape;
  const has = (p: number): boolean => checkpoint.tensors.has(`${name}.paths.${p}.A_sign_packed`);
  let count = 0;
  while (count < MAX_PATHS && has(count)) count++;
  if (count === 0) return undefined;
  const stored = Array.from({ length: count }, (_, p) => {
    const of = (part: string): string => `${name}.paths.${p}.${part}`;
    const [rank, envelope] = ([0, 1] as const).map((dimension) =>
      expectCount(
        checkpoint,
        of("Q_U_amp"),
        checkpoint.tensors.get(of("Q_U_amp"))?.shape[dimension],
        dimension === 0 ? "rank" : "envelope",
      ),
    );
    const lengths = { A_amp: rows, B_amp: cols, Q_U_amp: rank, Q_V_amp: rank };
    const scales = Object.entries(lengths).map(([part, length]) =>
      expectMatrix(checkpoint, of(part), length, Math.min(envelope, MAX_ENVELOPE)),
    );
    const signs = [
      expectFlatSigns(checkpoint, of("A_sign_packed"), rows, rank),
      expectFlatSigns(checkpoint, of("B_sign_packed"), rank, cols),
    ];
    return { of, rank, envelope, scales, signs };
  });
  const [{ envelope }] = stored;
  for (const { scales, envelope: own } of stored) {
    // The same l in every path: their amplitudes are checked against the first's.
    if (own !== envelope) expectMatrix(checkpoint, scales[0].name, rows, envelope);
  }
  const ranks = stored.map(({ rank }) => rank);
  return {
    entry: {
      kind: "factored",
      method: "mdbf",
      rows,
      cols,
      rank: ranks[0],
      ...(new Set(ranks).size > 1 && { ranks }),
      paths: count,
      envelope,
      midScale: true,
      scaleBits: scaleWidth(stored.flatMap(({ scales }) => scales)),
      biasBits: 0,
    },
    tensors: stored.flatMap(({ signs, scales }) => [
      ...signs.map((info) => ({ name: info.name, part: "signs" as const })),
      ...scales.map((info) => ({ name: info.name, part: "scales" as const })),
    ]),
    read: async (): Promise<FactoredLinear> => {
      const paths: FactoredPath[] = [];
      for (const { of, rank } of stored) paths.push(await readPath(checkpoint, of, rank, envelope, shape));
      return { kind: "factored", rows, cols, paths };
    },
  };
}

async function readPath(
  checkpoint: Checkpoint,
  of: (part: string) => string,
  rank: number,
  envelope: number,
  { rows, cols }: LinearShape,
): Promise<FactoredPath> {
  const amplitudes = async (part: string): Promise<Float32Array> =>
    transposed(await readFinite(checkpoint, of(part)), envelope);
  const path = {
    rank,
    envelope,
    outSigns: await readFlatSigns(checkpoint, of("A_sign_packed"), rows, rank),
    inSigns: await readFlatSigns(checkpoint, of("B_sign_packed"), rank, cols),
    outScales: await amplitudes("A_amp"),
    inScales: await amplitudes("B_amp"),
  };
  const [midOut, midIn] = [await amplitudes("Q_U_amp"), await amplitudes("Q_V_amp")];
  return envelope === 1 ? withMidFactors(path, { out: midOut, in: midIn }) : { ...path, midOut, midIn };
}

/** [n, columns] -> [columns, n] */
function transposed(values: Float32Array, columns: number): Float32Array {
  const rows = values.length / columns;
  const result = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) result[(i % columns) * rows + Math.floor(i / columns)] = values[i];
  return result;
}

function encodeLinear(name: string, linear: PackedLinear): EncodedTensor[] {
  const { rows, cols, paths } = expectFactored("mdbf", name, linear);
  return paths.flatMap((path, p): EncodedTensor[] => {
    const { rank, envelope, outScales, inScales } = path;
    const ones = new Float32Array(rank * envelope).fill(1);
    const middle = envelope === 1 ? midFactors(path) : { out: path.midOut ?? ones, in: path.midIn ?? ones };
    const of = (part: string): string => `${name}.paths.${p}.${part}`;
    const amplitudes = (part: string, values: Float32Array): EncodedTensor =>
      scalesTensor(
        of(part),
        transposed(values, values.length / envelope),
        [values.length / envelope, envelope],
        "F16",
      );
    return [
      signsTensor(
        of("A_sign_packed"),
        "U8",
        [flatBytes(rows, rank)],
        flatBytesFromSigns,
        pathSigns(p, "outSigns"),
      ),
      signsTensor(
        of("B_sign_packed"),
        "U8",
        [flatBytes(rank, cols)],
        flatBytesFromSigns,
        pathSigns(p, "inSigns"),
      ),
      integersTensor(of("_A_sign_shape"), [rows, rank], [2]),
      integersTensor(of("_B_sign_shape"), [rank, cols], [2]),
      amplitudes("A_amp", outScales),
      amplitudes("B_amp", inScales),
      amplitudes("Q_U_amp", middle.out),
      amplitudes("Q_V_amp", middle.in),
    ];
  });
}

function encodeConfig(
  base: ModelConfig,
  spec: ModelSpec,
  linears: readonly LinearToWrite[],
  { source }: EncodeOptions,
): EncodedConfig {
  if (source?.name === "mdbf") return { config: source.original.config };
  const packed = linears.filter(({ kind }) => kind === "factored");
  const names = packed.map(({ name }) => name);
  const settings = (linear: LinearToWrite): Record<string, unknown> => ({
    bits: bitsOf(linear),
    method: "mdbf",
    params: { P: linear.ranks.length, l: linear.envelope, scale_bits: 16 },
  });
  const first = packed[0];
  const quantisation = {
    quant_method: "mdbf",
    bits: first === undefined ? 0 : bitsOf(first),
    P: first?.ranks.length ?? 1,
    l: first?.envelope ?? 1,
    scale_bits: 16,
    modules_in_block_to_quantize: names,
    quantized_layer_names: names,
    quantization_bits: Array.from({ length: spec.layers }, (_, layer) =>
      Object.fromEntries(
        packed
          .filter(({ site }) => site.layer === layer)
          .map((linear) => [linear.name.replace(/^.*?\.\d+\./, ""), settings(linear)]),
      ),
    ),
  };
  return { config: { ...base, [QUANTISATION]: quantisation } };
}

/** Bits per weight by the paper's formula. */
function bitsOf({ rows, cols, ranks, envelope }: LinearToWrite): number {
  const shape = { rows, cols, rank: ranks[0], ranks, paths: ranks.length, envelope };
  return Math.round((paperBpw("mdbf", shape) ?? 0) * 1e4) / 1e4;
}
