/** A linear under training as core's type: signs packed, scales as they are. */
import { type FactoredLinear, type FactoredPath, type OneBitLinear, packSigns } from "@subbit/core";
import type { FactoredState, OneBitState, PathState } from "./linear-state.js";

/** Shares the arrays of scales with the state; rounding them is `storedForm`'s matter. */
export function packedLinear(state: FactoredState | OneBitState): FactoredLinear | OneBitLinear {
  const { rows, cols, scaleBits, bias } = state;
  const shared = { rows, cols, ...(scaleBits && { scaleBits }), ...(bias && { bias }) };
  if (state.kind === "onebit") {
    const { fullLatents, outScales, inScales } = state;
    return { ...shared, kind: "onebit", signs: packSigns(fullLatents, rows, cols), outScales, inScales };
  }
  return { ...shared, kind: "factored", paths: state.paths.map((path) => packedPath(path, rows, cols)) };
}

function packedPath(path: PathState, rows: number, cols: number): FactoredPath {
  const { rank, envelope = 1, outScales, inScales, midScales, midOutScales } = path;
  return {
    rank,
    envelope,
    outSigns: packSigns(path.outLatents, rows, rank),
    inSigns: packSigns(path.inLatents, rank, cols),
    outScales,
    inScales,
    ...(midScales && { midIn: midScales }),
    ...(midOutScales && { midOut: midOutScales }),
  };
}
