/**
 * E[x x^T] of the inputs of a block's linears over the calibration windows, taken right before the block is factorised:
 * one block's matrices exist at a time. Linears that read the same input share one.
 */
import { type LinearRole, throwIfAborted } from "@subbit/core";
import { accumulate, type BlockForms, type WeightFeeds } from "@subbit/engine";
import type { HiddenSource } from "../student/hidden-store.js";
import { INPUT_OWNERS } from "../tune/groups.js";
import type { RunContext } from "./context.js";

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
}

/** Sums run in a fixed order: the same windows give the same bytes. */
export async function inputGrams(
  { programs, signal }: Pick<RunContext, "programs" | "signal">,
  forms: BlockForms,
  feeds: WeightFeeds,
  { inputs, count, seqlen }: GramData,
): Promise<InputGrams> {
  const sums = new Map<LinearRole, Float32Array>();
  for (let begin = 0; begin < count; begin += BATCH) {
    throwIfAborted(signal);
    const which = Array.from({ length: Math.min(BATCH, count - begin) }, (_, i) => begin + i);
    const shape = { batch: which.length, tokens: seqlen };
    const program = await programs.get(forms, { ...shape, mode: "calibrate-forward", gram: INPUT_OWNERS });
    const made = await program.run({ ...feeds, hidden: await inputs.gather(which) });
    for (const role of INPUT_OWNERS) {
      const part = made[`inputGram.${role}`];
      const sum = sums.get(role);
      if (sum) accumulate(sum, part);
      else sums.set(role, part);
    }
  }
  for (const sum of sums.values()) for (let i = 0; i < sum.length; i++) sum[i] /= count * seqlen;
  return sums;
}
