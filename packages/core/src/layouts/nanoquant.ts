/**
 * The NanoQuant layout (SamsungLabs/NanoQuant): `W = D(scale_post) S_U [D(scale_mid)] S_V D(scale_pre)` (arXiv 2602.06694).
 * Two kinds: scales [1, d] without a middle one, and 1-D scales with one (its admm_type dbf), which its own loader refuses
 * for their shape. There is no config; the folder has the base model's.
 */
import type { Checkpoint } from "../checkpoints/types.js";
import { wordsPerRow } from "../linears/sign-matrix.js";
import type { FactoredLinear } from "../linears/types.js";
import type { LinearShape } from "../model/spec.js";
import type {
  EncodedTensor,
  EncodeOptions,
  OfficialLayout,
  PackedLinear,
  StoredLinear,
} from "./official-layout.js";
import { expectCount, expectVector, expectWords, readFinite, readWords, scaleWidth } from "./read-parts.js";
import { wordsFromSigns } from "./sign-bytes.js";
import { expectOnePath, integersTensor, pathSigns, scalesTensor, signsTensor } from "./write-parts.js";

export const nanoQuant: OfficialLayout = {
  name: "nanoquant",
  weightFile: "checkpoint.pt",
  ownDtype: "BF16",
  keepsDense: false,

  matches: (names) => {
    let found = false;
    for (const name of names) found ||= name.endsWith(".scale_pre");
    return found;
  },
  baseConfig: (config) => config,
  linear: storedLinear,
  encodeLinear,
  encodeConfig: (base) => ({ config: base }),
};

function storedLinear(
  checkpoint: Checkpoint,
  name: string,
  { rows, cols }: LinearShape,
): StoredLinear | undefined {
  const [u, v] = [`${name}.U_packed`, `${name}.V_packed`];
  if (!checkpoint.tensors.has(u)) return undefined;
  const rank = expectCount(checkpoint, v, checkpoint.tensors.get(v)?.shape[0], "rank");
  expectWords(checkpoint, u, rows, rank);
  expectWords(checkpoint, v, rank, cols);
  const names = { post: `${name}.scale_post`, mid: `${name}.scale_mid`, pre: `${name}.scale_pre` };
  const midScale = checkpoint.tensors.has(names.mid);
  const scales = [
    expectVector(checkpoint, names.post, rows),
    ...(midScale ? [expectVector(checkpoint, names.mid, rank)] : []),
    expectVector(checkpoint, names.pre, cols),
  ];
  return {
    entry: {
      kind: "factored",
      // By its published formula a linear with a middle scale costs what DBF's does.
      method: midScale ? "dbf" : "nanoquant",
      rows,
      cols,
      rank,
      paths: 1,
      envelope: 1,
      midScale,
      scaleBits: scaleWidth(scales),
      biasBits: 0,
    },
    tensors: [
      { name: u, part: "signs" },
      { name: v, part: "signs" },
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
          outSigns: await readWords(checkpoint, u, rows, rank),
          inSigns: await readWords(checkpoint, v, rank, cols),
          outScales: await readFinite(checkpoint, names.post),
          inScales: await readFinite(checkpoint, names.pre),
          ...(midScale && { midIn: await readFinite(checkpoint, names.mid) }),
        },
      ],
    }),
  };
}

function encodeLinear(name: string, linear: PackedLinear, { source }: EncodeOptions): EncodedTensor[] {
  const { rows, cols } = linear;
  const { rank, outScales, inScales, midIn } = expectOnePath("nanoquant", name, linear);
  // A model of this layout keeps its shapes; others get the ones that the official loader takes.
  const flat =
    source?.name === "nanoquant" && source.original.tensors.get(`${name}.scale_pre`)?.shape.length === 1;
  const scales = (part: string, values: Float32Array): EncodedTensor =>
    scalesTensor(`${name}.scale_${part}`, values, flat ? [values.length] : [1, values.length], "BF16");
  const unit = midIn?.every((value) => value === 1) ?? true;
  return [
    signsTensor(
      `${name}.U_packed`,
      "I32",
      [rows, wordsPerRow(rank)],
      wordsFromSigns,
      pathSigns(0, "outSigns"),
    ),
    signsTensor(
      `${name}.V_packed`,
      "I32",
      [rank, wordsPerRow(cols)],
      wordsFromSigns,
      pathSigns(0, "inSigns"),
    ),
    integersTensor(`${name}.U_shape`, [rows, rank], [2]),
    integersTensor(`${name}.V_shape`, [rank, cols], [2]),
    scales("pre", inScales),
    ...(midIn === undefined || unit ? [] : [scales("mid", midIn)]),
    scales("post", outScales),
  ];
}
