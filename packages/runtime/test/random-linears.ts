/** Factored and OneBit linears of any shape, as a file would hold them. */
import {
  packSigns,
  storedForm,
  type FactoredLinear,
  type FactoredPath,
  type OneBitLinear,
  type ScaleBits,
} from "@subbit/core";
import { gaussian } from "./kernel-harness.js";

export interface FactoredOptions {
  /** One a path. */
  readonly ranks: readonly number[];
  readonly envelope: number;
  readonly mid: boolean;
  readonly bias: boolean;
  readonly scaleBits: ScaleBits;
}

export function randomFactored(
  rows: number,
  cols: number,
  seed: number,
  { ranks, envelope, mid, bias, scaleBits }: FactoredOptions,
): FactoredLinear {
  let salt = seed * 7919;
  const random = (count: number): Float32Array => gaussian(count, salt++);
  /** Around one, of either sign where terms may cancel. */
  const scales = (length: number): Float32Array =>
    random(envelope * length).map((v, i) => (1 + 0.3 * v) * (envelope > 1 && i % 3 === 0 ? -1 : 1));
  const path = (rank: number): FactoredPath => ({
    rank,
    envelope,
    outSigns: packSigns(random(rows * rank), rows, rank),
    inSigns: packSigns(random(rank * cols), rank, cols),
    outScales: scales(rows),
    inScales: scales(cols),
    ...(mid && { midIn: scales(rank) }),
    ...(mid && envelope > 1 && { midOut: scales(rank) }),
  });
  return storedForm({
    kind: "factored",
    rows,
    cols,
    paths: ranks.map(path),
    scaleBits,
    ...(bias && { bias: random(rows) }),
  });
}

export function randomOneBit(
  rows: number,
  cols: number,
  seed: number,
  { bias, scaleBits }: { bias: boolean; scaleBits: ScaleBits },
): OneBitLinear {
  const scales = (length: number, salt: number): Float32Array =>
    gaussian(length, seed + salt).map((v) => 1 + 0.3 * v);
  return storedForm({
    kind: "onebit",
    rows,
    cols,
    signs: packSigns(gaussian(rows * cols, seed + 101), rows, cols),
    outScales: scales(rows, 102),
    inScales: scales(cols, 103),
    scaleBits,
    ...(bias && { bias: gaussian(rows, seed + 104) }),
  });
}
