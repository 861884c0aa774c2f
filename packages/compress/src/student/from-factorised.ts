/** From a factorisation to a linear under training: its scales, and latents. */
import { type FactoredPath, type OneBitLinear, SubbitError, unpackSigns } from "@subbit/core";
import type { FactorisedLinear, PathLatents } from "../factorise/types.js";
import type { DistilRecipe } from "../train-recipe.js";
import { normaliseLatents } from "./latents.js";
import type { FactoredState, OneBitState, PathState } from "./linear-state.js";

/** Size of OneBit's raw latents: its code starts from the signs alone. */
const ONEBIT_LATENT = 0.01;

type LatentsChoice = DistilRecipe["latents"];

/**
 * Copies; the factorisation is left as it is.
 *
 * @param kind `unit`: latents rescaled to unit mean magnitude; `raw`: as the factorisation gave them, and for OneBit, as
 * its code has them, 0.01 times the signs
 */
export function stateOfFactorised(
  { linear, latents, fullLatents }: FactorisedLinear,
  bias?: Float32Array,
  kind: LatentsChoice = "unit",
): FactoredState | OneBitState {
  const { rows, cols, scaleBits } = linear;
  const shared = { rows, cols, ...(scaleBits && { scaleBits }), ...(bias && { bias }) };
  if (linear.kind === "onebit")
    return { ...shared, ...oneBitArrays(linear, fullLatents, kind), kind: "onebit" };
  const paths = linear.paths.map((path, p) => pathState(path, latents[p], rows, cols, kind));
  return { ...shared, kind: "factored", paths };
}

function oneBitArrays(
  { rows, cols, signs, outScales, inScales }: OneBitLinear,
  found: Float32Array | undefined,
  kind: LatentsChoice,
): Pick<OneBitState, "fullLatents" | "outScales" | "inScales"> {
  const scales = { outScales: outScales.slice(), inScales: inScales.slice() };
  if (kind === "raw")
    return { fullLatents: unpackSigns(signs).map((sign) => ONEBIT_LATENT * sign), ...scales };
  // Without latents every sign stands as firmly as any other.
  const fullLatents = found ? found.slice() : unpackSigns(signs);
  normaliseLatents(fullLatents, rows, cols);
  return { fullLatents, ...scales };
}

function pathState(
  path: FactoredPath,
  latents: PathLatents | undefined,
  rows: number,
  cols: number,
  kind: LatentsChoice,
): PathState {
  if (latents === undefined) {
    throw new SubbitError("internal", "A factorisation gave fewer latents than it has paths.");
  }
  const { rank, envelope, midIn, midOut } = path;
  const [outLatents, inLatents] = [latents.outLatents.slice(), latents.inLatents.slice()];
  if (kind === "unit") {
    normaliseLatents(outLatents, rows, rank);
    normaliseLatents(inLatents, rank, cols);
  }
  const ones = () => new Float32Array(envelope * rank).fill(1);
  // The engine wants both middle scales of an envelope or none.
  const middle = midIn !== undefined || midOut !== undefined;
  return {
    rank,
    envelope,
    outLatents,
    inLatents,
    outScales: path.outScales.slice(),
    ...(middle && { midScales: midIn?.slice() ?? ones() }),
    ...(middle && envelope > 1 && { midOutScales: midOut?.slice() ?? ones() }),
    inScales: path.inScales.slice(),
  };
}
