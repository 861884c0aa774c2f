/** From a factorisation to a linear under training: its scales, and latents at unit mean magnitude. */
import type { FactorisedLinear } from "../factorise/types.js";
import { normaliseLatents } from "./latents.js";
import type { FactoredState, PathState } from "./state.js";

/** Copies; the factorisation is left as it is. */
export function stateOfFactorised({ linear, latents }: FactorisedLinear, bias?: Float32Array): FactoredState {
  const { rows, cols } = linear;
  return {
    kind: "factored",
    rows,
    cols,
    paths: linear.paths.map((path, p): PathState => {
      const [outLatents, inLatents] = [latents[p].outLatents.slice(), latents[p].inLatents.slice()];
      normaliseLatents(outLatents, rows, path.rank);
      normaliseLatents(inLatents, path.rank, cols);
      return {
        rank: path.rank,
        outLatents,
        inLatents,
        outScales: path.outScales.slice(),
        ...(path.midIn && { midScales: path.midIn.slice() }),
        inScales: path.inScales.slice(),
      };
    }),
    ...(bias && { bias }),
  };
}
