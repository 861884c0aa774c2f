/**
 * The student under training: a block's linears as dense matrices, as factors or as one sign matrix (OneBit), and its norms.
 *
 * A latent carries a sign (its own) and, in training, how firmly it holds it. Latents have unit mean magnitude by rows
 * and columns, so that one surrogate width fits every matrix; only their signs reach the packed file.
 */
import type { LinearRole, NormRole } from "@subbit/core";
import { linearArrays, type LinearState, withLinearArrays } from "./linear-state.js";

export interface NormState {
  readonly weight: Float32Array;
  readonly bias?: Float32Array;
}

/** By role, in the order of `ModelSpec.linears` and `ModelSpec.norms`: a block has the roles of its family. */
export interface BlockState {
  readonly linears: Readonly<Record<LinearRole, LinearState>>;
  readonly norms: Readonly<Record<NormRole, NormState>>;
}

/** The linears a block has. */
export function linearsOf({ linears }: BlockState): [LinearRole, LinearState][] {
  return Object.entries(linears) as [LinearRole, LinearState][];
}

/** The norms a block has. */
export function normsOf({ norms }: BlockState): [NormRole, NormState][] {
  return Object.entries(norms) as [NormRole, NormState][];
}

/** Every array of a block by a stable name, such as `q.paths.0.outLatents` or `attention-norm.weight`. */
export function blockArrays(block: BlockState): Map<string, Float32Array> {
  const arrays = new Map<string, Float32Array>();
  for (const [role, linear] of linearsOf(block)) {
    for (const [name, array] of linearArrays(linear)) arrays.set(`${role}.${name}`, array);
    if (linear.bias) arrays.set(`${role}.bias`, linear.bias);
  }
  for (const [role, { weight, bias }] of normsOf(block)) {
    arrays.set(`${role}.weight`, weight);
    if (bias) arrays.set(`${role}.bias`, bias);
  }
  return arrays;
}

/** The same block with its arrays taken from `arrays`, by the names of `blockArrays`. */
export function withArrays(block: BlockState, arrays: ReadonlyMap<string, Float32Array>): BlockState {
  const take = (name: string, old: Float32Array): Float32Array => arrays.get(name) ?? old;
  const bias = (role: string, old: Float32Array | undefined) =>
    old ? { bias: take(`${role}.bias`, old) } : {};
  const linears = Object.fromEntries(
    linearsOf(block).map(([role, linear]) => {
      const own = withLinearArrays(linear, (name, old) => take(`${role}.${name}`, old));
      return [role, { ...own, ...bias(role, linear.bias) }];
    }),
  ) as Record<LinearRole, LinearState>;
  const norms = Object.fromEntries(
    normsOf(block).map(([role, norm]) => {
      return [role, { weight: take(`${role}.weight`, norm.weight), ...bias(role, norm.bias) }];
    }),
  ) as Record<NormRole, NormState>;
  return { linears, norms };
}

/** A copy whose arrays (those with `which` names; all by default) may be trained without changing the original. */
export function copyBlock(block: BlockState, which: (name: string) => boolean = () => true): BlockState {
  const copied = [...blockArrays(block)].filter(([name]) => which(name));
  return withArrays(block, new Map(copied.map(([name, array]) => [name, array.slice()])));
}
