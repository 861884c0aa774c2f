/**
 * The two state dicts of DBF (usamec/double_binary): `W = D(a) S_A D(c) S_B D(b)` (arXiv 2505.11076). After compression a
 * linear is a sequence of five modules, after fine-tuning of three, under the names of a compiled model. Shapes are not
 * stored: they follow from the lengths of the scales. There is no config; the folder has the base model's.
 */
import type { Checkpoint } from "../checkpoints/types.js";
import type { FactoredLinear } from "../linears/types.js";
import type { ModelConfig } from "../model/config-fields.js";
import type { LinearShape } from "../model/spec.js";
import type {
  EncodedConfig,
  EncodedTensor,
  EncodeOptions,
  OfficialLayout,
  PackedLinear,
  StoredLinear,
} from "./official-layout.js";
import {
  expectCount,
  expectFlatSigns,
  expectVector,
  lengthOf,
  readFinite,
  readFlatSigns,
  scaleWidth,
} from "./read-parts.js";
import { flatBytes, flatBytesFromSigns } from "./sign-bytes.js";
import { expectOnePath, pathSigns, refusal, scalesTensor, signsTensor } from "./write-parts.js";

/** What torch.compile puts before the name of a compiled module's parts. */
const COMPILED = "_orig_mod.";

/** Names of a linear's tensors, after the linear's. */
interface Names {
  readonly inScales: string;
  readonly inSigns: string;
  readonly midScales: string;
  readonly outSigns: string;
  readonly outScales: string;
}

const COMPRESSED: Names = {
  inScales: "0.w",
  inSigns: "1.bp",
  midScales: "2.w",
  outSigns: "3.bp",
  outScales: "4.w",
};

/** `0.w` and `2.w` of this one are shadows of the signs that a tuning window left: not weights. */
const FINE_TUNED: Names = {
  inScales: "0.scale",
  inSigns: "0.bp",
  midScales: "1.w",
  outSigns: "2.bp",
  outScales: "2.scale",
};

export const dbf: OfficialLayout = {
  name: "dbf",
  weightFile: "checkpoint.pt",
  ownDtype: "F32",
  keepsDense: false,
  dropsBias: true,

  matches: (names) => {
    let found = false;
    for (const name of names) found ||= /\.[0-3]\.bp$/.test(name);
    return found;
  },
  usualName: (name) => name.replace(COMPILED, ""),
  baseConfig: (config) => config,
  linear: storedLinear,
  encodeLinear,
  encodeConfig: (base: ModelConfig): EncodedConfig => ({ config: base }),
  writtenName: (name, options) =>
    isFineTuned(options) ? name.replace(/^model\./, `model.${COMPILED}`) : name,
};

function storedLinear(
  checkpoint: Checkpoint,
  name: string,
  { rows, cols }: LinearShape,
): StoredLinear | undefined {
  const has = (part: string): boolean => checkpoint.tensors.has(`${name}.${part}`);
  const parts = has(COMPRESSED.inSigns) ? COMPRESSED : has(FINE_TUNED.inSigns) ? FINE_TUNED : undefined;
  if (parts === undefined) return undefined;
  const of = (part: keyof Names): string => `${name}.${parts[part]}`;
  const middle = of("midScales");
  const rank = expectCount(checkpoint, middle, lengthOf(checkpoint, middle), "rank");
  const scales = [
    expectVector(checkpoint, of("inScales"), cols),
    expectVector(checkpoint, middle, rank),
    expectVector(checkpoint, of("outScales"), rows),
  ];
  const signs = [
    expectFlatSigns(checkpoint, of("inSigns"), rank, cols),
    expectFlatSigns(checkpoint, of("outSigns"), rows, rank),
  ];
  return {
    entry: {
      kind: "factored",
      method: "dbf",
      rows,
      cols,
      rank,
      paths: 1,
      envelope: 1,
      midScale: true,
      scaleBits: scaleWidth(scales),
      biasBits: 0,
    },
    tensors: [
      ...signs.map((info) => ({ name: info.name, part: "signs" as const })),
      ...scales.map((info) => ({ name: info.name, part: "scales" as const })),
    ],
    read: async (): Promise<FactoredLinear> => ({
      kind: "factored",
      rows,
      cols,
      paths: [
        {
          rank,
          envelope: 1,
          outSigns: await readFlatSigns(checkpoint, of("outSigns"), rows, rank),
          inSigns: await readFlatSigns(checkpoint, of("inSigns"), rank, cols),
          outScales: await readFinite(checkpoint, of("outScales")),
          inScales: await readFinite(checkpoint, of("inScales")),
          midIn: await readFinite(checkpoint, middle),
        },
      ],
    }),
  };
}

/** A checkpoint that came as a fine-tuned one goes as such. */
function isFineTuned({ source }: EncodeOptions): boolean {
  if (source?.name !== "dbf") return false;
  return [...source.original.tensors.keys()].some((name) => name.includes(COMPILED));
}

function encodeLinear(name: string, linear: PackedLinear, options: EncodeOptions): EncodedTensor[] {
  const { rows, cols } = linear;
  const path = expectOnePath("dbf", name, linear);
  const { rank, midIn = new Float32Array(rank).fill(1) } = path;
  const odd = [rows * rank, rank * cols].find((count) => count % 8 !== 0);
  if (odd !== undefined) {
    throw refusal(
      "dbf",
      name,
      `a sign matrix of rank ${rank} has ${odd} signs, and the layout needs a multiple of 8`,
    );
  }
  const fineTuned = isFineTuned(options);
  const parts = fineTuned ? FINE_TUNED : COMPRESSED;
  const of = (part: keyof Names): string => `${name}.${parts[part]}`;
  const own = fineTuned ? "BF16" : "F32";
  const signs = (part: "outSigns" | "inSigns", count: number): EncodedTensor =>
    signsTensor(of(part), "U8", [count], flatBytesFromSigns, pathSigns(0, part));
  return [
    scalesTensor(of("inScales"), path.inScales, [cols], own),
    signs("inSigns", flatBytes(rank, cols)),
    scalesTensor(of("midScales"), midIn, [rank], own),
    signs("outSigns", flatBytes(rows, rank)),
    scalesTensor(of("outScales"), path.outScales, fineTuned ? [rows, 1] : [rows], own),
  ];
}
