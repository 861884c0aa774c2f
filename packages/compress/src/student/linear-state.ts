/**
 * One linear under training: dense, factored with latents, or a sign matrix (OneBit) with latents, and its arrays by
 * name: `weight`, `fullLatents`, `outScales`, `paths.0.outLatents` and so on. The names are those of the engine's feeds,
 * but for `Latents` where a feed has `Signs`.
 */
import type { ScaleBits } from "@subbit/core";

export interface PathState {
  readonly rank: number;
  /** [rows, rank] */
  readonly outLatents: Float32Array;
  /** [rank, cols] */
  readonly inLatents: Float32Array;
  /** l @default 1 */
  readonly envelope?: number;
  /** [l, rows] */
  readonly outScales: Float32Array;
  /** [l, rank]; absent means ones (NanoQuant). */
  readonly midScales?: Float32Array;
  /** [l, rank]; Q transposed, present for l > 1 with middle scales. */
  readonly midOutScales?: Float32Array;
  /** [l, cols] */
  readonly inScales: Float32Array;
}

export interface FactoredState {
  readonly kind: "factored";
  readonly rows: number;
  readonly cols: number;
  readonly paths: readonly PathState[];
  /** Width of the stored scales. @default 16 */
  readonly scaleBits?: ScaleBits;
  /** [rows] */
  readonly bias?: Float32Array;
}

/** OneBit: signs of every weight, a LayerNorm behind the product. */
export interface OneBitState {
  readonly kind: "onebit";
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly fullLatents: Float32Array;
  /** [rows] */
  readonly outScales: Float32Array;
  /** [cols] */
  readonly inScales: Float32Array;
  /** @default 16 */
  readonly scaleBits?: ScaleBits;
  /** [rows] */
  readonly bias?: Float32Array;
}

export interface DenseState {
  readonly kind: "dense";
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly weight: Float32Array;
  /** [rows] */
  readonly bias?: Float32Array;
}

export type LinearState = DenseState | FactoredState | OneBitState;

/** Every array but the bias, in a fixed order. */
export function linearArrays(linear: LinearState): (readonly [name: string, array: Float32Array])[] {
  if (linear.kind === "dense") return [["weight", linear.weight]];
  if (linear.kind === "onebit") {
    const { fullLatents, outScales, inScales } = linear;
    return Object.entries({ fullLatents, outScales, inScales });
  }
  return linear.paths.flatMap((path, p) =>
    pathArrays(path).map(([name, array]) => [`paths.${p}.${name}`, array] as const),
  );
}

/** The same linear with every array but the bias taken from `take`. */
export function withLinearArrays(
  linear: LinearState,
  take: (name: string, old: Float32Array) => Float32Array,
): LinearState {
  if (linear.kind === "dense") return { ...linear, weight: take("weight", linear.weight) };
  if (linear.kind === "onebit") return { ...linear, ...taken(linearArrays(linear), take) };
  return {
    ...linear,
    paths: linear.paths.map((path, p): PathState => {
      const own = taken(pathArrays(path), (name, old) => take(`paths.${p}.${name}`, old));
      return { ...path, ...own };
    }),
  };
}

function pathArrays(path: PathState): (readonly [string, Float32Array])[] {
  const { outLatents, inLatents, outScales, midScales, midOutScales, inScales } = path;
  return [
    ["outLatents", outLatents],
    ["inLatents", inLatents],
    ["outScales", outScales],
    ...(midScales ? [["midScales", midScales] as const] : []),
    ...(midOutScales ? [["midOutScales", midOutScales] as const] : []),
    ["inScales", inScales],
  ];
}

function taken(
  arrays: readonly (readonly [string, Float32Array])[],
  take: (name: string, old: Float32Array) => Float32Array,
): Record<string, Float32Array> {
  return Object.fromEntries(arrays.map(([name, old]) => [name, take(name, old)]));
}
