/** Bytes a model will need, from its manifest and tensor list alone: so that one that cannot fit is refused before it is read. */
import { endTensors, linearSites, packedEntry, ranksOf, type LinearEntry, type Model } from "@subbit/core";
import { DENSE_COL_PAD, DENSE_ROW_TILE, ROW_PAD } from "../abi.js";
import { kvLayerBytes, type KvBits } from "../kv-layout.js";
import { packedSignBytes } from "./pack-signs.js";
import { pad } from "./place.js";

/** Weights as they will lie in memory; the KV cache and scratch come on top. */
export function estimateWeightBytes(model: Model): number {
  const { spec, manifest } = model;
  let bytes = 0;
  for (const site of linearSites(spec)) {
    const name = spec.names.linear(site);
    const { rows, cols } = spec.linearShapes[site.role];
    bytes += entryBytes(packedEntry(model, name), rows, cols, () => storedBits(model, `${name}.weight`));
  }
  for (const { name, shape } of endTensors(spec)) bytes += denseBytes(...shape, storedBits(model, name));
  const { vocabSize, names, tiedHead } = spec;
  const { embeddingSize: width } = spec.ends;
  const embedding = manifest?.embedding;
  bytes += entryBytes(embedding, vocabSize, width, () => storedBits(model, names.embedding));
  if (embedding?.kind === "factored") {
    // A lookup multiplies with the second factor transposed.
    for (const rank of ranksOf(embedding)) bytes += packedSignBytes(width, rank);
  }
  if (!tiedHead) {
    bytes += entryBytes(manifest?.head, vocabSize, width, () => storedBits(model, names.head));
  }
  return bytes;
}

/** @param bits of a dense matrix that no manifest describes */
function entryBytes(entry: LinearEntry | undefined, rows: number, cols: number, bits: () => number): number {
  if (entry?.kind === "factored") {
    const { envelope } = entry;
    return ranksOf(entry).reduce((sum, rank) => {
      const signs = packedSignBytes(rank, cols) + packedSignBytes(rows, rank);
      return sum + signs + 4 * envelope * (rows + cols + 2 * rank);
    }, 0);
  }
  if (entry?.kind === "onebit") return packedSignBytes(rows, cols) + 4 * (rows + cols);
  return denseBytes(rows, cols, entry?.bits ?? bits());
}

function denseBytes(rows: number, cols: number, bits: number): number {
  return (pad(rows, DENSE_ROW_TILE) * pad(cols, DENSE_COL_PAD) * bits) / 8;
}

/** Bits in memory of a tensor read from a file: 16-bit floats stay, everything else is widened to f32. */
function storedBits(model: Model, tensor: string): number {
  const { checkpoint } = model;
  const dtype = checkpoint.tensors.get(tensor)?.dtype;
  return checkpoint.format !== "gguf" && (dtype === "F16" || dtype === "BF16") ? 16 : 32;
}

/** Keys and values of every layer for `capacity` positions. */
export function kvCacheBytes(model: Model, capacity: number, bits: KvBits): number {
  const { kvHeads, headDim } = model.spec.attention;
  return 2 * model.spec.layers * kvLayerBytes(bits, kvHeads, headDim, capacity);
}

/** Activations of a tile, generously: the widest rows that live at the same time, and the logits. */
export function scratchBytes(model: Model, tile: number): number {
  const { hiddenSize, mlp, vocabSize } = model.spec;
  return 4 * tile * (pad(vocabSize, ROW_PAD) + 16 * (hiddenSize + mlp.intermediateSize));
}
