/** What a factorisation takes and gives. */
import type { FactoredLinear, OnProgress } from "@subbit/core";

/** How the signs and scales of a linear are found. */
export type FactoriseMethod = "auto" | "nanoquant" | "dbf" | "littlebit";

/**
 * How much an error of the weight matters: entry (i, j) weighs `output[i] * input[j]`. Both are second moments over
 * calibration tokens; only their relative sizes count.
 */
export interface Importance {
  /** [cols], E[x^2] of the linear's inputs. @default all ones */
  readonly input?: Float32Array;
  /** [rows], E[(dL/dy)^2] of the linear's outputs. @default all ones */
  readonly output?: Float32Array;
  /**
   * NanoQuant's gamma: the square roots of the moments are drawn to their mean by this share, against moments that
   * calibration data tell poorly. @default 0.2 (the paper's, section 5 of arXiv 2602.06694)
   */
  readonly shrinkage?: number;
}

export interface FactoriseOptions {
  /** @default "auto", the lowest error measured at equal stored bits */
  readonly method?: FactoriseMethod;
  /** Rank of each path. Give `rank` or `bpw`, not both. */
  readonly rank?: number;
  /** Stored bits per weight that the result may cost at most; sets the rank. */
  readonly bpw?: number;
  /** Paths, each fitted to what the ones before left. @default the method's own: 2 for littlebit, else 1 */
  readonly paths?: number;
  /** Outer iterations. @default the method's own */
  readonly iterations?: number;
  /** @default 0 */
  readonly seed?: number;
  /** @default every entry counts alike */
  readonly importance?: Importance;
  readonly signal?: AbortSignal;
  /** Stage "factorise", in outer iterations over all paths. */
  readonly onProgress?: OnProgress;
}

/**
 * What training of the signs starts from: real numbers whose signs are the stored ones and whose sizes say how firmly
 * each sign stands. For ADMM, the variable before its projection (A + U_A).
 */
export interface PathLatents {
  /** [rows, rank] */
  readonly outLatents: Float32Array;
  /** [rank, cols] */
  readonly inLatents: Float32Array;
}

export interface FactorisedLinear {
  /** As it will be stored: scales are 16-bit values. */
  readonly linear: FactoredLinear;
  /** One a path. */
  readonly latents: readonly PathLatents[];
  /** ||W - What||_F / ||W||_F of the stored form; 0 for a zero matrix. */
  readonly relError: number;
  /** The same with rows and columns weighted by the importance as it was given. */
  readonly weightedRelError: number;
  /** Wall time. */
  readonly seconds: number;
}
