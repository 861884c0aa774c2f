/** What a run will need of memory and disk, checked before it starts, and what that lets it keep in memory. */
import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import { dirname } from "node:path";
import { type ModelSpec, SubbitError } from "@subbit/core";
import type { Windows } from "../calibrate/windows.js";
import type { TuneLevel } from "../choices.js";
import type { Plan, PlanRow } from "../plan/plan.js";
import { ranksOf } from "../student/from-plan.js";
import { gramOwners } from "./input-grams.js";

export interface ResourceUse {
  /** Whether all of the teacher's blocks stay in memory as f32. */
  readonly keepTeacher: boolean;
  /** Whether activations of all windows stay in memory. */
  readonly hiddenInMemory: boolean;
  /** Estimated peak. */
  readonly memoryBytes: number;
  /** Of the work folder at its largest, and of the output. */
  readonly diskBytes: number;
}

const F32 = 4;
/** Runtime, compiled programs and their scratch, beside what is counted. */
const BASE_BYTES = 400e6;
/** Floats that a block program holds per token, in hidden sizes: activations of forward and backward. */
const SCRATCH_WIDTHS = 60;
/** Latents, signs and two moments. */
const TRAINED_ARRAYS = 4;
/** Snapshots have latents and moments, in two slots; blocks and the final state have latents. */
const STORED_ARRAYS = 8;

/**
 * Estimates from shapes alone.
 *
 * @param fullGram whether errors are measured by all products of the inputs
 */
export function estimateResources(
  spec: ModelSpec,
  plan: Plan,
  windows: Windows,
  tune: TuneLevel,
  batch: number,
  memoryLimit: number,
  fullGram = false,
): ResourceUse {
  const signs = plan.rows.reduce((sum, row) => sum + signsOf(row), 0);
  const teacher = plan.totals.linearWeights * F32;
  const block = teacher / spec.layers;
  const ownEnds = plan.embedMethod === "factored" || plan.embedBits !== 16;
  const ends = spec.vocabSize * spec.ends.embeddingSize * F32 * (spec.tiedHead ? 1 : 2) * (ownEnds ? 2 : 1);
  const hidden = windows.count * windows.seqlen * spec.hiddenSize * F32;
  const attention = batch * spec.attention.heads * windows.seqlen * windows.seqlen * F32 * 3;
  const scratch = batch * windows.seqlen * spec.hiddenSize * F32 * (SCRATCH_WIDTHS + spec.layers) + attention;
  const student = signs * F32 * (tune === "full" ? TRAINED_ARRAYS : 2);
  const least = BASE_BYTES + ends + 3 * block + scratch + student + (fullGram ? gramBytes(spec) : 0);
  const keepTeacher = least + teacher <= memoryLimit;
  const spent = least + (keepTeacher ? teacher : 0);
  // The teacher's and the prefix's.
  const hiddenInMemory = tune === "none" || spent + 2 * hidden <= memoryLimit;
  const memoryBytes = spent + (hiddenInMemory && tune !== "none" ? 2 * hidden : 0);
  const work =
    signs * F32 * (tune === "full" ? STORED_ARRAYS : 2) + block + (hiddenInMemory ? 0 : 2 * hidden);
  return { keepTeacher, hiddenInMemory, memoryBytes, diskBytes: work + plan.totals.fileBytes };
}

/** Signs of a linear under training. */
function signsOf(row: PlanRow): number {
  if (row.kind === "onebit") return row.rows * row.cols;
  return ranksOf(row).reduce((sum, rank) => sum + rank * (row.rows + row.cols), 0);
}

/** E[x x^T] of one block's distinct inputs: summed, fresh from the program, and a copy with the factoriser. */
function gramBytes(spec: ModelSpec): number {
  return gramOwners(spec).reduce((sum, role) => sum + spec.linearShapes[role].cols ** 2, 0) * F32 * 3;
}

/** Throws `resources` when the machine cannot hold the run. */
export async function checkResources(use: ResourceUse, memoryLimit: number, work: string): Promise<void> {
  const memory = Math.min(memoryLimit, totalmem());
  if (use.memoryBytes > memory) {
    throw new SubbitError(
      "resources",
      `This run needs about ${megabytes(use.memoryBytes)} of memory, but ${megabytes(memory)} may be used; ` +
        `raise --memory-limit, train less (--tune scales or none) or use shorter windows.`,
    );
  }
  const { bavail, bsize } = await statfs(existingFolder(work));
  if (bavail * bsize < use.diskBytes) {
    throw new SubbitError(
      "resources",
      `This run needs about ${megabytes(use.diskBytes)} of disk in ${work}, but ${megabytes(bavail * bsize)} are free; ` +
        `free some or give --work on another disk.`,
    );
  }
}

/** The folder, or the nearest one above it: a refused run leaves nothing behind. */
function existingFolder(folder: string): string {
  let found = folder;
  while (!existsSync(found) && dirname(found) !== found) found = dirname(found);
  return found;
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6).toLocaleString("en-US")} MB`;
}
