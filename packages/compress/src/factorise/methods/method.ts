/** What a factorisation method is: one file and one line in the registry. */
import type { AdmmShape } from "../admm-program.js";
import type { RawPath } from "../admm.js";
import type { Programs } from "../programs.js";

export interface PathTask {
  readonly shape: AdmmShape;
  /** [rows, cols], importance folded in, root mean square 1. */
  readonly weight: Float32Array;
  readonly iterations: number;
  readonly seed: number;
  /** Number of the path, 0 for the primary. */
  readonly path: number;
  readonly programs: Programs;
  readonly signal?: AbortSignal | undefined;
  readonly onIteration?: ((done: number) => void) | undefined;
}

export interface Method {
  /** Whether each path stores a middle scale; decides the rank for a number of bits. */
  readonly midScale: boolean;
  /** @default of `FactoriseOptions.paths` */
  readonly paths: number;
  /** @default of `FactoriseOptions.iterations` */
  readonly iterations: number;
  /** Whether a rank above min(rows, cols) means anything to it. */
  readonly overcomplete: boolean;
  /** Whether the scales are refitted by least squares afterwards. */
  readonly refit: boolean;
  /** Finds one path of the (folded) matrix. */
  readonly factorise: (task: PathTask) => Promise<RawPath>;
}
