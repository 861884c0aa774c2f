/** An open model of any layout as one that the subbit layout's writer takes. */
import { losslessWidth } from "../linears/round-scales.js";
import type { Linear, ScaleBits } from "../linears/types.js";
import { endMatrix, packedEntry, type Model } from "../model/model.js";
import type { PackedModel } from "./subbit-write.js";

export interface ConvertedModelOptions {
  /** The program that writes, `subbit 0.1.0`. */
  readonly writtenBy: string;
  /** Rounds all scales of linears to this width. @default the narrowest of 16 and 32 bits that loses nothing; a subbit model keeps its own */
  readonly scaleBits?: ScaleBits | undefined;
}

/** The same model, to be written in the subbit layout; with no width asked for, nothing of it is rounded. */
export function convertedModel(model: Model, { writtenBy, scaleBits }: ConvertedModelOptions): PackedModel {
  const { spec, manifest, layout, checkpoint } = model;
  const widthOf = (linear: Linear): Linear => {
    if (linear.kind === "dense") return linear;
    if (scaleBits !== undefined) return { ...linear, scaleBits };
    return manifest === undefined ? losslessWidth(linear) : linear;
  };
  return {
    spec,
    config: checkpoint.config,
    linear: async (site) => widthOf(await model.linear(site)),
    method: (site) => {
      const entry = packedEntry(model, spec.names.linear(site));
      return entry === undefined || entry.kind === "dense" ? "dense" : entry.method;
    },
    norm: (site) => model.norm(site),
    embedding: () => model.embedding(),
    head: () => model.head(),
    ...(model.positions && { positions: () => endMatrix(model, "positions") }),
    ...(model.projection && { projection: (end) => endMatrix(model, end) }),
    ...(manifest && {
      tableMethod: (table) => {
        const entry = manifest[table];
        return entry?.kind === "factored" ? entry.method : "dense";
      },
    }),
    writtenBy,
    recipe: manifest?.recipe ?? { convertedFrom: layout?.name ?? checkpoint.format },
    ...(manifest?.teacherSha256 !== undefined && { teacherSha256: manifest.teacherSha256 }),
    // What was measured on a model holds for the same model, not for one with other scales.
    ...(manifest?.quality && scaleBits === undefined && { quality: manifest.quality }),
  };
}
