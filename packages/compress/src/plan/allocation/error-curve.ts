/**
 * Squared relative error against rank, from a few measured points. Between points its logarithm is taken as linear: the
 * error of the best signs for given bits falls about by a constant factor a bit (as the rate-distortion curve of
 * gaussian numbers does, D = 2^(-2R)). The fitted curve never rises and is convex, which the choice of ranks needs.
 */
import type { ErrorCurve } from "../plan.js";

/** An error below this is rounding; keeps logarithms finite. */
const SMALLEST_SQUARED_ERROR = 1e-9;

interface Knot {
  readonly rank: number;
  readonly log: number;
}

/** Squared relative error at any rank from 0 (where it is 1); beyond the last point the last slope goes on. */
export function fitCurve({ points }: Pick<ErrorCurve, "points">): (rank: number) => number {
  const knots = lowerHull(falling(points));
  return (rank) => {
    let at = 1;
    while (at < knots.length - 1 && knots[at].rank < rank) at++;
    const [low, high] = [knots[at - 1], knots[at]];
    if (high === undefined) return Math.exp(low.log);
    const slope = (high.log - low.log) / (high.rank - low.rank);
    return Math.exp(low.log + slope * (rank - low.rank));
  };
}

/** Points by rank, from (0, ln 1) on, each no higher than those before. */
function falling(points: ErrorCurve["points"]): Knot[] {
  const knots: Knot[] = [{ rank: 0, log: 0 }];
  for (const { rank, squaredError } of [...points].sort((a, b) => a.rank - b.rank)) {
    const last = knots[knots.length - 1];
    const log = Math.min(last.log, Math.log(Math.max(squaredError, SMALLEST_SQUARED_ERROR)));
    if (rank > last.rank) knots.push({ rank, log });
  }
  return knots;
}

/** The knots on the lower convex hull. */
function lowerHull(knots: readonly Knot[]): Knot[] {
  const hull: Knot[] = [];
  for (const knot of knots) {
    while (
      hull.length >= 2 &&
      slope(hull[hull.length - 2], hull[hull.length - 1]) >= slope(hull[hull.length - 2], knot)
    ) {
      hull.pop();
    }
    hull.push(knot);
  }
  return hull;
}

function slope(from: Knot, to: Knot): number {
  return (to.log - from.log) / (to.rank - from.rank);
}
