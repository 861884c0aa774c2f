/** What a factorisation takes and gives. */
import type { FactoredLinear, OneBitLinear, OnProgress, ScaleBits } from "@subbit/core";
import type { Init, Method } from "../choices.js";

/** How the signs and scales of a linear are found; `auto` is the lowest error measured at equal stored bits. */
export type FactoriseMethod = Method | "auto";

/** `official`: iteration counts and schedules of the papers' own code; `tuned`: ours, better in less time. */
export type Schedule = "tuned" | "official";

/**
 * How much an error of the weight matters: entry (i, j) weighs `output[i] * input[j]`. Both are second moments over
 * calibration tokens; only their relative sizes count.
 */
export interface Importance {
  /** [cols], E[x^2] of the linear's inputs. @default all ones */
  readonly input?: Float32Array;
  /**
   * [cols, cols], E[x x^T]: the error is measured in this metric instead of its diagonal (MDBF's activation-aware ADMM, for
   * every method that anneals; whitened spectral starts; refits of the scales of every method with envelopes of rank 1).
   */
  readonly inputGram?: Float32Array;
  /** [rows], E[(dL/dy)^2] of the linear's outputs. @default all ones */
  readonly output?: Float32Array;
  /**
   * NanoQuant's gamma: the square roots of the moments are drawn to their mean by this share, against moments that
   * calibration data tell poorly. @default 0.2 (the paper's, section 5 of arXiv 2602.06694)
   */
  readonly shrinkage?: number;
}

export interface FactoriseOptions {
  /** @default "auto" */
  readonly method?: FactoriseMethod;
  /** @default the method's own */
  readonly init?: Init;
  /** @default "tuned" */
  readonly schedule?: Schedule;
  /** Rank of each path. Give one of `rank`, `ranks` and `bpw` (none for onebit). */
  readonly rank?: number;
  /** Rank of each path where they differ. */
  readonly ranks?: readonly number[];
  /** Stored bits per weight that the result may cost at most; sets the rank. */
  readonly bpw?: number;
  /** Paths, each fitted to what the ones before left. @default the method's own: 2 for littlebit, else 1 */
  readonly paths?: number;
  /** l, the rank of the magnitude envelopes (mdbf). @default the method's own */
  readonly envelope?: number;
  /** Width in which scales are stored; decides the rank for a `bpw`. @default the method's own: 8 for auto, else 16 */
  readonly scaleBits?: ScaleBits;
  /** Steps of gradient descent on all scales after the signs are found (mdbf's refinement). @default 0 */
  readonly refineSteps?: number;
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
  /** As it will be stored: scales are 16 or 8-bit values. */
  readonly linear: FactoredLinear | OneBitLinear;
  /** One a path; empty for onebit. */
  readonly latents: readonly PathLatents[];
  /** [rows, cols], for onebit. */
  readonly fullLatents?: Float32Array;
  /** ||W - What||_F / ||W||_F of the stored form (onebit: before its LayerNorm); 0 for a zero matrix. */
  readonly relError: number;
  /** The same with rows and columns weighted by the importance as it was given. */
  readonly weightedRelError: number;
  /** Wall time. */
  readonly seconds: number;
}
