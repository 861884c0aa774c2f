/** A whole student as named arrays, such as `3.q.paths.0.outLatents`, and back: what the ledger keeps of it. */
import { blockToArrays } from "./artefact.js";
import type { ModelState } from "./model-state.js";
import { withArrays } from "./state.js";

const FINAL_NORM = "final-norm.weight";

/** Everything that training may have moved; arrays are shared with the state. */
export function stateToArrays({ blocks, ends }: ModelState): Map<string, Float32Array> {
  const arrays = new Map<string, Float32Array>();
  if (ends.finalNorm) arrays.set(FINAL_NORM, ends.finalNorm.weight);
  for (const [layer, block] of blocks.entries()) {
    for (const [name, array] of blockToArrays(block)) arrays.set(`${layer}.${name}`, array);
  }
  return arrays;
}

/** The state with its arrays taken from `arrays`; those that are not there stay as they were. */
export function stateWithArrays(
  { blocks, ends }: ModelState,
  arrays: ReadonlyMap<string, Float32Array>,
): ModelState {
  const weight = arrays.get(FINAL_NORM);
  return {
    blocks: blocks.map((block, layer) => {
      const prefix = `${layer}.`;
      const own = [...arrays].flatMap(([name, array]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), array] as const] : [],
      );
      return withArrays(block, new Map(own));
    }),
    ends: { ...ends, ...(weight && { finalNorm: { ...ends.finalNorm, weight } }) },
  };
}
