/**
 * Bit accounting. Honest bits are those the file holds: signs with their padding, every scale at its stored width.
 * Published bits are what each paper's formula says, for comparison. A bias is stated apart: the dense layer has it too.
 */
import { SubbitError } from "../errors.js";
import { wordsPerRow } from "./sign-matrix.js";
import type { DenseStorage, FactoredLinear, Linear, OneBitLinear, ScaleBits } from "./types.js";

/** What determines the stored size of a factored linear. */
export interface FactoredShape {
  readonly rows: number;
  readonly cols: number;
  /** Of every path, where `ranks` is absent. */
  readonly rank: number;
  /** One a path, where they differ. */
  readonly ranks?: readonly number[] | undefined;
  readonly paths: number;
  /** l */
  readonly envelope: number;
  /** Whether each path stores a middle scale (two of them for l > 1). */
  readonly midScale: boolean;
  readonly scaleBits: ScaleBits;
}

export interface FactoredBits {
  /** Sign bits, padding included. */
  readonly signs: number;
  readonly scales: number;
  /** signs + scales */
  readonly total: number;
}

/** Shape for the question "which rank fits": everything but the rank. */
export interface BudgetShape {
  readonly rows: number;
  readonly cols: number;
  /** @default 1 */
  readonly paths?: number;
  /** @default 1 */
  readonly envelope?: number;
  /** @default true */
  readonly midScale?: boolean;
  /** @default 16 */
  readonly scaleBits?: ScaleBits;
}

/** Bits of the 16-bit base that each vector of 8-bit scales has beside its codes. */
const BASE_BITS = 16;

/** Stored bits of `vectors` vectors of `length` scales each. */
function bitsOfScales(vectors: number, length: number, scaleBits: ScaleBits): number {
  return vectors * (scaleBits * length + (scaleBits === 8 ? BASE_BITS : 0));
}

/** Ranks of all paths together. */
function totalRank({ rank, ranks, paths }: Pick<FactoredShape, "rank" | "ranks" | "paths">): number {
  return ranks === undefined ? paths * rank : ranks.reduce((sum, each) => sum + each, 0);
}

/** Stored bits of a factored linear: signs of U as [rank, rows] and of V as [rank, cols], rows padded to 32 bits. */
export function bitsOfRank(shape: FactoredShape): FactoredBits {
  const { rows, cols, rank, paths, envelope, midScale, scaleBits } = shape;
  const ranks = shape.ranks ?? new Array<number>(paths).fill(rank);
  const signs = totalRank(shape) * 32 * (wordsPerRow(rows) + wordsPerRow(cols));
  const outer = bitsOfScales(envelope, rows, scaleBits) + bitsOfScales(envelope, cols, scaleBits);
  const midVectors = midScale ? (envelope === 1 ? 1 : 2 * envelope) : 0;
  const middle = ranks.reduce((sum, each) => sum + bitsOfScales(midVectors, each, scaleBits), 0);
  const scales = paths * outer + middle;
  return { signs, scales, total: signs + scales };
}

/** Stored bits of a OneBit linear: a sign a weight, rows padded to 32 bits, and two scale vectors. */
export function bitsOfOneBit(shape: Pick<OneBitLinear, "rows" | "cols" | "scaleBits">): FactoredBits {
  const { rows, cols, scaleBits = 16 } = shape;
  const signs = rows * 32 * wordsPerRow(cols);
  const scales = bitsOfScales(1, rows, scaleBits) + bitsOfScales(1, cols, scaleBits);
  return { signs, scales, total: signs + scales };
}

function atRank(shape: BudgetShape, rank: number): FactoredShape {
  const { rows, cols, paths = 1, envelope = 1, midScale = true, scaleBits = 16 } = shape;
  return { rows, cols, rank, paths, envelope, midScale, scaleBits };
}

/** The largest rank whose honest stored bits are at most `bpw * rows * cols`; 0 when not even rank 1 fits. */
export function rankForBits(shape: BudgetShape & { readonly bpw: number }): number {
  const fixed = bitsOfRank(atRank(shape, 0)).total;
  const perRank = bitsOfRank(atRank(shape, 1)).total - fixed;
  // A whisper above the budget absorbs the rounding of bpw * rows * cols when bpw came from bits / (rows * cols).
  const budget = shape.bpw * shape.rows * shape.cols * (1 + 1e-12);
  return Math.max(0, Math.floor((budget - fixed) / perRank));
}

/** The smallest honest bits per weight that this shape can have: those of rank 1. */
export function smallestBpw(shape: BudgetShape): number {
  return bitsOfRank(atRank(shape, 1)).total / (shape.rows * shape.cols);
}

/** Bits per weight by the method's published formula; `undefined` for a method without one. */
export function paperBpw(
  method: string,
  shape: Pick<FactoredShape, "rows" | "cols" | "rank" | "ranks" | "paths" | "envelope">,
): number | undefined {
  const { rows, cols, paths, envelope } = shape;
  const rank = totalRank(shape);
  const sum = rows + cols;
  const weights = rows * cols;
  switch (method) {
    case "onebit": // sign matrix and two vectors (arXiv 2402.11295)
      return 1 + (16 * sum) / weights;
    case "nanoquant": // no middle scale (arXiv 2602.06694)
      return (rank * sum + paths * 16 * sum) / weights;
    case "dbf": // arXiv 2505.11076
    case "littlebit": // the middle scale counted once (arXiv 2506.13771)
      return (rank * sum + 16 * (paths * sum + rank)) / weights;
    case "mdbf": // both middle scales counted (arXiv 2512.24545)
      return (rank * sum + 16 * envelope * (paths * sum + 2 * rank)) / weights;
    default:
      return undefined;
  }
}

/**
 * The rank that the method's published formula gives for `bpw`, floored to a whole rank; 0 when none fits.
 * Throws `usage` for a method without a formula in the rank.
 */
export function rankForPaperBits(method: string, shape: BudgetShape & { readonly bpw: number }): number {
  const { rows, cols, paths = 1, envelope = 1, bpw } = shape;
  const at = (rank: number) => paperBpw(method, { rows, cols, rank, paths, envelope });
  const fixed = at(0);
  const one = at(1);
  if (fixed === undefined || one === undefined || one === fixed) {
    throw new SubbitError(
      "usage",
      `Method ${method} has no published formula that gives a rank; size it by honest bits.`,
    );
  }
  return Math.max(0, Math.floor((bpw * (1 + 1e-12) - fixed) / (one - fixed)));
}

/** Stored bits of a dense matrix: values, and scales where they are quantised. */
export interface DenseBits {
  readonly values: number;
  readonly scales: number;
  readonly total: number;
}

const DENSE_BITS = { f32: 32, f16: 16, bf16: 16, i8: 8, i4: 4, i2: 2 } as const satisfies Record<
  DenseStorage["dtype"],
  number
>;

/** Bits of one value of a dense storage. */
export function bitsOfDense(dtype: DenseStorage["dtype"]): 32 | 16 | 8 | 4 | 2 {
  return DENSE_BITS[dtype];
}

/** The shape of a factored linear whose paths agree in envelope and middle scale, as those of every stored one do. */
export function factoredShape(linear: FactoredLinear): FactoredShape {
  const first = linear.paths[0];
  if (first === undefined)
    throw new SubbitError("internal", "A factored linear without paths was passed on.");
  const midScale = first.midIn !== undefined || first.midOut !== undefined;
  for (const path of linear.paths) {
    const pathMid = path.midIn !== undefined || path.midOut !== undefined;
    if (path.envelope !== first.envelope || pathMid !== midScale) {
      throw new SubbitError("internal", "The paths of a factored linear differ in envelope or middle scale.");
    }
  }
  const { rank, envelope } = first;
  const { rows, cols, paths, scaleBits = 16 } = linear;
  const ranks = paths.map((path) => path.rank);
  return {
    rows,
    cols,
    rank,
    ...(ranks.some((each) => each !== rank) && { ranks }),
    paths: paths.length,
    envelope,
    midScale,
    scaleBits,
  };
}

/** Honest stored bits per weight of a linear (or of a table), without its bias. */
export function honestBpw(linear: Linear): number {
  return bitsOfLinear(linear) / (linear.rows * linear.cols);
}

function bitsOfLinear(linear: Linear): number {
  switch (linear.kind) {
    case "factored":
      return bitsOfRank(factoredShape(linear)).total;
    case "onebit":
      return bitsOfOneBit(linear).total;
    case "dense":
      return bitsOfDenseMatrix(linear.storage.dtype, linear.rows, linear.cols).total;
  }
}

/** Stored bits of a dense [rows, cols] matrix; row scales count at `scaleBits`. */
export function bitsOfDenseMatrix(
  dtype: DenseStorage["dtype"],
  rows: number,
  cols: number,
  options: { scaleBits?: 16 | 32 } = {},
): DenseBits {
  const bits = DENSE_BITS[dtype];
  // Rows of codes narrower than a byte are padded to whole bytes.
  const values = rows * 8 * Math.ceil((cols * bits) / 8);
  const scales = bits <= 8 ? rows * (options.scaleBits ?? 16) : 0;
  return { values, scales, total: values + scales };
}
