/** A packed model as a student under training: its signs as latents, its scales and norms as they are stored. */
import {
  denseValues,
  type FactoredPath,
  type Linear,
  type LinearRole,
  type Model,
  type NormRole,
  type SignMatrix,
  unpackSigns,
} from "@subbit/core";
import type { LinearState, PathState } from "./linear-state.js";
import { type ModelState, readEnds } from "./model-state.js";
import { type BlockState, type NormState } from "./state.js";

/**
 * Every block widened to f32; the arrays are the caller's to change.
 *
 * @param magnitude of every latent: a file holds signs only, so all of them stand equally firm
 */
export async function readPackedState(model: Model, magnitude: number): Promise<ModelState> {
  const blocks: BlockState[] = [];
  for (let layer = 0; layer < model.spec.layers; layer++) {
    const linears = {} as Record<LinearRole, LinearState>;
    for (const role of model.spec.linears)
      linears[role] = linearState(await model.linear({ layer, role }), magnitude);
    const norms = {} as Record<NormRole, NormState>;
    for (const role of model.spec.norms) norms[role] = await model.norm({ layer, role });
    blocks.push({ linears, norms });
  }
  return { blocks, ends: await readEnds(model) };
}

function linearState(linear: Linear, magnitude: number): LinearState {
  const { rows, cols, bias } = linear;
  const own = { rows, cols, ...(bias && { bias }) };
  if (linear.kind === "dense") return { ...own, kind: "dense", weight: denseValues(linear) };
  const shared = { ...own, ...(linear.scaleBits && { scaleBits: linear.scaleBits }) };
  if (linear.kind === "factored") {
    return { ...shared, kind: "factored", paths: linear.paths.map((path) => pathState(path, magnitude)) };
  }
  const { signs, outScales, inScales } = linear;
  return { ...shared, kind: "onebit", fullLatents: latentsOf(signs, magnitude), outScales, inScales };
}

function pathState(path: FactoredPath, magnitude: number): PathState {
  const { rank, envelope, outSigns, inSigns, outScales, inScales, midIn, midOut } = path;
  const ones = () => new Float32Array(envelope * rank).fill(1);
  // The engine wants both middle scales of an envelope or none.
  const middle = midIn !== undefined || midOut !== undefined;
  return {
    rank,
    envelope,
    outLatents: latentsOf(outSigns, magnitude),
    inLatents: latentsOf(inSigns, magnitude),
    outScales,
    ...(middle && { midScales: midIn ?? ones() }),
    ...(middle && envelope > 1 && { midOutScales: midOut ?? ones() }),
    inScales,
  };
}

function latentsOf(signs: SignMatrix, magnitude: number): Float32Array {
  const latents = unpackSigns(signs);
  if (magnitude !== 1) for (let i = 0; i < latents.length; i++) latents[i] *= magnitude;
  return latents;
}
