/**
 * What a factorisation method is: a stored form and the ways to find it. A method is one file here and one line in the
 * registry; a way to start is a `PathStart` (or a `FullStart` for a sign matrix of full rank) that methods may share.
 */
import type { ScaleBits } from "@subbit/core";
import type { Init } from "../../choices.js";
import type { AdmmShape } from "../admm-program.js";
import type { Weights } from "../importance.js";
import type { Programs } from "../programs.js";
import { type SignPath, transposed, transposePath } from "../sign-path.js";
import type { Schedule } from "../types.js";

/** Default iterations by schedule. */
export type IterationCounts = Readonly<Record<Schedule, number>>;

export interface PathTask {
  readonly shape: AdmmShape;
  /** l; 1 for methods without envelopes. */
  readonly envelope: number;
  /** [rows, cols], importance folded in, root mean square about 1. */
  readonly weight: Float32Array;
  /** [cols, cols], the metric of the folded inputs, mean diagonal 1; absent: the identity. */
  readonly gram?: Float32Array | undefined;
  readonly schedule: Schedule;
  readonly iterations: number;
  readonly seed: number;
  /** Number of the path, 0 for the primary. */
  readonly path: number;
  readonly programs: Programs;
  readonly signal?: AbortSignal | undefined;
  readonly onIteration?: ((done: number) => void) | undefined;
}

/** A way to find the signs and scales of one path. */
export interface PathStart {
  readonly iterations: IterationCounts;
  /** Whether a rank above min(rows, cols) means anything to it. */
  readonly overcomplete: boolean;
  /** Whether the search itself looks at `PathTask.gram`. */
  readonly metric: boolean;
  /** Whether scales are refitted by least squares afterwards (they always are in the metric of a Gram matrix). */
  readonly refit: boolean;
  /**
   * A cheaper start by which, in the official schedule, all of several paths are found first; then each is found once
   * against what the others leave. Otherwise each is found on what the ones before it leave, which loses less.
   */
  readonly first?: PathStart;
  /** Finds one path of the (folded) matrix. */
  readonly find: (task: PathTask) => Promise<SignPath>;
}

export interface FullTask {
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols], importance folded in, root mean square 1. */
  readonly weight: Float32Array;
  /** What was folded in; found scales are divided by it. */
  readonly weights: Weights;
  readonly iterations: number;
  readonly seed: number;
}

/** A rank-1 envelope of the magnitudes. */
export interface Envelope {
  /** [rows] */
  readonly outScales: Float32Array;
  /** [cols] */
  readonly inScales: Float32Array;
}

/** A way to find the scales of a full-rank sign matrix, whose signs are those of the weight. */
export interface FullStart {
  readonly iterations: IterationCounts;
  readonly find: (task: FullTask) => Envelope;
}

/** Signs in two factors, one path or more. */
export interface FactoredMethod {
  readonly kind: "factored";
  /** Whether each path stores a middle scale; decides the rank for a number of bits. */
  readonly midScale: boolean;
  /** @default of `FactoriseOptions.paths` */
  readonly paths: number;
  /** @default of `FactoriseOptions.envelope`; above 1 only where `envelopes`. */
  readonly envelope: number;
  /** Whether l is free. */
  readonly envelopes: boolean;
  /** Width of stored scales. @default of `FactoriseOptions.scaleBits`: 16, as in the papers */
  readonly scaleBits?: ScaleBits;
  /** By name; the first is the default. */
  readonly inits: Starts<PathStart>;
}

/** A sign for every weight. */
export interface OneBitMethod {
  readonly kind: "onebit";
  /** By name; the first is the default. */
  readonly inits: Starts<FullStart>;
}

export type Starts<S> = Readonly<Partial<Record<Init, S>>>;
export type Method = FactoredMethod | OneBitMethod;

/**
 * The same search on whichever of W and W^T has at least as many rows as columns, so that a matrix and its transpose get
 * transposed results (squares apart).
 */
export function tall(find: PathStart["find"]): PathStart["find"] {
  return async (task) => {
    const { rows, cols, rank } = task.shape;
    if (rows >= cols || task.gram) return find(task);
    const weight = transposed(task.weight, rows, cols);
    return transposePath(await find({ ...task, shape: { rows: cols, cols: rows, rank }, weight }));
  };
}
