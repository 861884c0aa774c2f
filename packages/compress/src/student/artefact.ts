/** Blocks as artefacts of the ledger: with latents while training may go on, packed signs at the end. */
import type { LinearRole, Model } from "@subbit/core";
import type { Artefact } from "../ledger/artefact.js";
import type { PlanRow } from "../plan/plan.js";
import { emptyState } from "./from-plan.js";
import type { LinearState } from "./linear-state.js";
import { readDenseBlock } from "./model-state.js";
import { type BlockState, blockArrays, withArrays } from "./state.js";

/** Arrays of a block that the teacher does not already have: latents, scales and norms. */
export function blockToArrays(block: BlockState): Map<string, Float32Array> {
  const arrays = new Map<string, Float32Array>();
  for (const [name, array] of blockArrays(block)) {
    if (!/^(q|k|v|o|gate|up|down)\.(weight|bias)$/.test(name)) arrays.set(name, array);
  }
  return arrays;
}

export function blockToArtefact(block: BlockState): Artefact {
  return { arrays: blockToArrays(block), json: null };
}

/** The inverse: factors by the plan's rows, dense linears and biases from the teacher. */
export async function blockFromArtefact(
  model: Model,
  layer: number,
  rows: readonly PlanRow[],
  { arrays }: Artefact,
): Promise<BlockState> {
  const dense = await readDenseBlock(model, layer);
  const linears = {} as Record<LinearRole, LinearState>;
  for (const role of model.spec.linears) {
    const row = rows.find(({ site }) => site.layer === layer && site.role === role)!;
    linears[role] = row.kind === "dense" ? dense.linears[role] : emptyState(row, dense.linears[role].bias);
  }
  return withArrays({ linears, norms: dense.norms }, arrays as ReadonlyMap<string, Float32Array>);
}
