/**
 * E[x x^T] of the inputs of a block's linears over the calibration windows, taken right before the block is factorised:
 * one block's matrices exist at a time. Linears that read the same input share one.
 */
import { type LinearRole, type ModelSpec, throwIfAborted } from "@subbit/core";
import { accumulate, type BlockForms, type WeightFeeds } from "@subbit/engine";
import type { HiddenSource } from "../student/hidden-store.js";
import { inputOwners } from "../tune/groups.js";
import type { RunContext } from "./context.js";

/** Inputs of the largest matrix that is made; wider linears have the mean squares alone. */
export const LARGEST_GRAM = 12_288;

/** Windows that go through the block at once. */
const BATCH = 4;

/** [cols, cols], by the linear that stands for all with its input (`inputOwner`). */
export type InputGrams = ReadonlyMap<LinearRole, Float32Array>;

/** What enters the block, by window. */
export interface GramData {
  readonly inputs: HiddenSource;
  /** Windows. */
  readonly count: number;
  readonly seqlen: number;
  /** The block's number. */
  readonly layer: number;
}

/** One linear for each distinct input that is not too wide. */
export function gramOwners({ linears, linearShapes }: ModelSpec): LinearRole[] {
  return inputOwners(linears).filter((role) => linearShapes[role].cols <= LARGEST_GRAM);
}

/** Sums run in a fixed order: the same windows give the same bytes. */
export async function inputGrams(
  { programs, signal, spec }: Pick<RunContext, "programs" | "signal" | "spec">,
  forms: BlockForms,
  feeds: WeightFeeds,
  { inputs, count, seqlen, layer }: GramData,
): Promise<InputGrams> {
  const owners = gramOwners(spec);
  const sums = new Map<LinearRole, Float32Array>();
  for (let begin = 0; begin < count; begin += BATCH) {
    throwIfAborted(signal);
    const which = Array.from({ length: Math.min(BATCH, count - begin) }, (_, i) => begin + i);
    const shape = { batch: which.length, tokens: seqlen, layer };
    const program = await programs.get(forms, { ...shape, mode: "calibrate-forward", gram: owners });
    const made = await program.run({ ...feeds, hidden: await inputs.gather(which) });
    for (const role of owners) {
      const part = made[`inputGram.${role}`];
      const sum = sums.get(role);
      if (sum) accumulate(sum, part);
      else sums.set(role, part);
    }
  }
  for (const sum of sums.values()) for (let i = 0; i < sum.length; i++) sum[i] /= count * seqlen;
  return sums;
}
