/** Medians of rounds, and ratios of rounds that were measured side by side. */

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** In the order they were measured. */
  readonly rounds: readonly number[];
}

/** Throws RangeError without values. */
export function spreadOf(rounds: readonly number[]): Spread {
  if (rounds.length === 0) throw new RangeError("A spread of no values was asked for.");
  const sorted = [...rounds].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1], rounds: [...rounds] };
}

/** Round by round, so that what both met in the same minute cancels. */
export function ratioOf(numerator: Spread, denominator: Spread): Spread {
  return spreadOf(numerator.rounds.map((value, round) => value / denominator.rounds[round]));
}
