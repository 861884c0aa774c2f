/** A linear as its plan's row says it will be, with arrays still to come: what artefacts are read into. */
import type { PlanRow } from "../plan/plan.js";
import type { FactoredState, OneBitState, PathState } from "./linear-state.js";

const NONE = new Float32Array(0);

/** Every array is empty. The row must not be a dense one. */
export function emptyState(row: PlanRow, bias?: Float32Array): FactoredState | OneBitState {
  const { rows, cols, scaleBits } = row;
  const shared = { rows, cols, scaleBits, ...(bias && { bias }) };
  if (row.kind === "onebit") {
    return { ...shared, kind: "onebit", fullLatents: NONE, outScales: NONE, inScales: NONE };
  }
  return { ...shared, kind: "factored", paths: ranksOf(row).map((rank) => emptyPath(row, rank)) };
}

/** Rank of each path of a row. */
export function ranksOf({
  rank,
  ranks,
  paths,
}: Pick<PlanRow, "rank" | "ranks" | "paths">): readonly number[] {
  return ranks ?? Array.from({ length: paths }, () => rank);
}

function emptyPath({ envelope, midScale }: PlanRow, rank: number): PathState {
  return {
    rank,
    envelope,
    outLatents: NONE,
    inLatents: NONE,
    outScales: NONE,
    ...(midScale && { midScales: NONE }),
    ...(midScale && envelope > 1 && { midOutScales: NONE }),
    inScales: NONE,
  };
}
