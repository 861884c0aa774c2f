/**
 * (X^T X + (rho + ridge) I)^-1 for X of unit columns, as ADMM needs it: rho comes from a schedule, and the coefficients of
 * the inverse, which depend on it alone, are worked out on the host beside it.
 */
import { type Graph, ops, type Value } from "@subbit/engine";
import {
  type Identities,
  invert,
  type InverseStep,
  inverseCoefficients,
  LEAF,
  stepsNeeded,
} from "./inverse.js";

/**
 * Times the mean eigenvalue of X^T X weighted by itself, added to its diagonal: bounds the condition number where few rows
 * of X carry all weight (a matrix of low rank, inputs of outlier size), and is nothing beside the ridge elsewhere.
 */
export const RELATIVE_RIDGE = 1e-3;
/** What the inverse may be off, relative, in its worst direction; the next iteration corrects it. */
const INVERSE_TOLERANCE = 1e-5;
/** Beyond this relative error of an inverse what was made with it is made again with careful ones. */
export const INVERSE_ERROR_LIMIT = 1e-2;
/** The diagonal of X^T X is 1 up to rounding. */
const ROUNDING_ROOM = 1.001;

export interface InverseSettings {
  readonly rank: number;
  /** Added to the diagonal of X^T X beside rho and the relative ridge. */
  readonly ridge: number;
  /** The smallest rho of the schedule; with the ridge it bounds the spectrum from below. */
  readonly smallestRho: number;
  /** Whether inverses are polished, for ill-conditioned matrices. */
  readonly careful: boolean;
}

/** rho, and the steps of the inverse that belong to it. */
export interface Shift {
  readonly rho: Value | number;
  readonly steps: readonly InverseStep[];
}

/** Entries of one row of the schedule. */
export function scheduleWidth(settings: InverseSettings): number {
  return 1 + 2 * stepCount(settings);
}

/** [scheduleWidth]: rho and its coefficients. */
export function scheduleRow(rho: number, settings: InverseSettings): Float32Array {
  const row = new Float32Array(scheduleWidth(settings));
  row[0] = rho;
  row.set(coefficients(rho, settings), 1);
  return row;
}

/** The shift that stands in a row of the schedule, [scheduleWidth]. */
export function scheduledShift(row: Value, settings: InverseSettings): Shift {
  const at = (i: number): Value => ops.slice(row, 0, i, i + 1);
  const steps = Array.from({ length: stepCount(settings) }, (_, i) => ({
    identity: at(1 + 2 * i),
    product: at(2 + 2 * i),
  }));
  return { rho: at(0), steps };
}

/** A shift that never changes. */
export function constantShift(graph: Graph, rho: number, settings: InverseSettings): Shift {
  const values = coefficients(rho, settings);
  const steps = Array.from({ length: stepCount(settings) }, (_, i) => ({
    identity: graph.scalar(values[2 * i]),
    product: graph.scalar(values[2 * i + 1]),
  }));
  return { rho, steps };
}

/** The inverse [rank, rank], and its squared error |K^-1 K v - v|^2 for a probe v [rank, 1]; gram = X^T X. */
export function shiftedInverse(
  gram: Value,
  { rho, steps }: Shift,
  probe: Value,
  settings: InverseSettings,
  identities: Identities,
): { readonly inverse: Value; readonly error: Value } {
  const { rank, ridge, careful } = settings;
  const relative = ops.mul(ops.reshape(ops.reduceSum(ops.square(gram)), [1, 1]), RELATIVE_RIDGE / rank);
  const amount = ops.add(relative, typeof rho === "number" ? rho + ridge : ops.add(rho, ridge));
  const shifted = ops.add(gram, ops.mul(identities.of(rank), amount));
  const inverse = invert(shifted, steps, identities, { careful });
  const missed = ops.sub(ops.matmul(inverse, ops.matmul(shifted, probe)), probe);
  return { inverse, error: ops.reshape(ops.reduceSum(ops.square(missed)), [1, 1]) };
}

/** Steps at the smallest shift; larger ones converge sooner and stay converged. */
function stepCount(settings: InverseSettings): number {
  const shift = settings.smallestRho + settings.ridge;
  return stepsNeeded(shift, largestEigenvalue(shift, settings), INVERSE_TOLERANCE);
}

function coefficients(rho: number, settings: InverseSettings): Float32Array {
  const shift = rho + settings.ridge;
  return inverseCoefficients(shift, largestEigenvalue(shift, settings), stepCount(settings));
}

/** Of the shifted leading blocks of at most LEAF rows: the trace of such a block of X^T X bounds it. */
function largestEigenvalue(shift: number, { rank }: InverseSettings): number {
  return Math.min(LEAF, rank) * ROUNDING_ROOM + shift + RELATIVE_RIDGE * rank * ROUNDING_ROOM;
}
