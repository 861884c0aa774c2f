/** Random linears of every kind, for tests; fresh each run. */
import { denseFromF32 } from "../src/linears/dense-linear.js";
import { packSigns } from "../src/linears/sign-matrix.js";
import type {
  DenseLinear,
  FactoredLinear,
  FactoredPath,
  OneBitLinear,
  ScaleBits,
} from "../src/linears/types.js";

/** Values from -scale to scale. */
export function random(length: number, scale = 1): Float32Array {
  return Float32Array.from({ length }, () => scale * (Math.random() * 2 - 1));
}

export function randomSigns(rows: number, cols: number): FactoredPath["outSigns"] {
  return packSigns(random(rows * cols), rows, cols);
}

export interface FactoredOptions {
  /** One a path. @default [3] */
  readonly ranks?: readonly number[];
  /** @default 1 */
  readonly envelope?: number;
  /** @default true */
  readonly midScale?: boolean;
  /** @default 16, unsaid */
  readonly scaleBits?: ScaleBits;
  /** @default false */
  readonly bias?: boolean;
}

export function randomFactored(rows: number, cols: number, options: FactoredOptions = {}): FactoredLinear {
  const { ranks = [3], envelope = 1, midScale = true, scaleBits, bias = false } = options;
  const paths = ranks.map((rank) => ({
    rank,
    envelope,
    outSigns: randomSigns(rows, rank),
    inSigns: randomSigns(rank, cols),
    outScales: random(envelope * rows, 0.1),
    inScales: random(envelope * cols, 2),
    ...(midScale && { midIn: random(envelope * rank, 0.3) }),
    ...(midScale && envelope > 1 && { midOut: random(envelope * rank) }),
  }));
  return {
    kind: "factored",
    rows,
    cols,
    paths,
    ...(scaleBits && { scaleBits }),
    ...(bias && { bias: random(rows) }),
  };
}

export function randomOneBit(
  rows: number,
  cols: number,
  options: Pick<FactoredOptions, "scaleBits" | "bias"> = {},
): OneBitLinear {
  const { scaleBits, bias = false } = options;
  return {
    kind: "onebit",
    rows,
    cols,
    signs: randomSigns(rows, cols),
    outScales: random(rows, 0.1),
    inScales: random(cols, 2),
    ...(scaleBits && { scaleBits }),
    ...(bias && { bias: random(rows) }),
  };
}

export function randomDense(rows: number, cols: number, bias = false): DenseLinear {
  return denseFromF32(random(rows * cols), rows, cols, bias ? random(rows) : undefined);
}
