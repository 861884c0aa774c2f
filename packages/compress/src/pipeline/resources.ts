/** What a run will need of memory and disk, checked before it starts, and what that lets it keep in memory. */
import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import { dirname } from "node:path";
import { type ModelSpec, SubbitError } from "@subbit/core";
import type { Windows } from "../calibrate/windows.js";
import type { TuneLevel } from "../choices.js";
import { MOST_PROGRAMS } from "../distil/model-forward.js";
import { collectsGradients } from "../optimise/stepper.js";
import type { Plan, PlanRow } from "../plan/plan.js";
import { ranksOf } from "../student/from-plan.js";
import { type DistilRecipe, trainRecipe } from "../train-recipe.js";
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
export const BASE_BYTES = 400e6;
/** Of a compiled block program between its runs; of those of a distillation, one forward and one backward a shape. */
export const PROGRAM_BYTES = 6e6;
/** Floats that a block program holds per token, in hidden sizes: activations of forward and backward. */
const SCRATCH_WIDTHS = 60;
/** Latents and signs. */
const LATENT_ARRAYS = 2;
/** Share of signs that has moments while signs move by flips; with room for chance. */
const EXPOSED_SHARE = 0.2;

/**
 * Estimates from shapes alone.
 *
 * @param fullGram whether errors are measured by all products of the inputs
 * @param recipe of the distillation of everything
 */
export function estimateResources(
  spec: ModelSpec,
  plan: Plan,
  windows: Windows,
  tune: TuneLevel,
  batch: number,
  memoryLimit: number,
  fullGram = false,
  recipe: DistilRecipe = trainRecipe("default"),
): ResourceUse {
  const trained = trainedArrays(recipe);
  const signs = plan.rows.reduce((sum, row) => sum + signsOf(row), 0);
  const teacher = plan.totals.linearWeights * F32;
  const block = teacher / spec.layers;
  const ownEnds = plan.embedMethod === "factored" || plan.embedBits !== 16;
  const ends = spec.vocabSize * spec.ends.embeddingSize * F32 * (spec.tiedHead ? 1 : 2) * (ownEnds ? 2 : 1);
  const hidden = windows.count * windows.seqlen * spec.hiddenSize * F32;
  const scratch = scratchBytes(spec, batch, windows.seqlen, recipe);
  const student = signs * F32 * (tune === "full" ? trained.memory : LATENT_ARRAYS);
  const distils = tune === "scales" || tune === "full";
  const programs = distils ? Math.min(MOST_PROGRAMS, 2 * distinctBlocks(plan)) * PROGRAM_BYTES : 0;
  const least =
    BASE_BYTES + programs + ends + 3 * block + scratch + student + (fullGram ? gramBytes(spec) : 0);
  const keepTeacher = least + teacher <= memoryLimit;
  const spent = least + (keepTeacher ? teacher : 0);
  // The teacher's and the prefix's.
  const hiddenInMemory = tune === "none" || spent + 2 * hidden <= memoryLimit;
  const memoryBytes = spent + (hiddenInMemory && tune !== "none" ? 2 * hidden : 0);
  const work =
    signs * F32 * (tune === "full" ? trained.stored : 2) + block + (hiddenInMemory ? 0 : 2 * hidden);
  return { keepTeacher, hiddenInMemory, memoryBytes, diskBytes: work + plan.totals.fileBytes };
}

/** What programs hold of `batch` windows while these pass forward and backward. */
export function scratchBytes(
  spec: ModelSpec,
  batch: number,
  seqlen: number,
  { loss }: Pick<DistilRecipe, "loss">,
): number {
  // What enters every block and, with a hidden-state loss, its gradients.
  const states = loss.hidden > 0 ? 2 : 1;
  const attention = batch * spec.attention.heads * seqlen * seqlen * F32 * 3;
  return batch * seqlen * spec.hiddenSize * F32 * (SCRATCH_WIDTHS + states * spec.layers) + attention;
}

/** Arrays as large as all signs that a distillation holds, and those that it stores at most, in f32. */
export function trainedArrays(recipe: DistilRecipe): { readonly memory: number; readonly stored: number } {
  const { optimizer, optimizerBits, average } = recipe;
  const count = { adamw: 2, muon: 1, flips: 2 * EXPOSED_SHARE }[optimizer];
  const kept = (count * optimizerBits) / 32 + (average > 0 ? 1 : 0);
  const gathered = collectsGradients(recipe) ? 1 : 0;
  // Snapshots have latents and what is kept, in two slots; blocks and the final state have latents.
  return { memory: LATENT_ARRAYS + kept + gathered, stored: 2 * (1 + kept) + 2 };
}

/** Signs of a linear under training. */
function signsOf(row: PlanRow): number {
  if (row.kind === "onebit") return row.rows * row.cols;
  return ranksOf(row).reduce((sum, rank) => sum + rank * (row.rows + row.cols), 0);
}

/** Blocks that differ in the shape of any linear. */
function distinctBlocks({ rows }: Plan): number {
  const shapes = new Map<number, string>();
  for (const { site, kind, rank, ranks, paths, envelope } of rows) {
    const shape = JSON.stringify([kind, rank, ranks, paths, envelope]);
    shapes.set(site.layer, `${shapes.get(site.layer) ?? ""} ${shape}`);
  }
  return new Set(shapes.values()).size;
}

/** E[x x^T] of one block's distinct inputs: summed, fresh from the program, and a copy with the factoriser. */
function gramBytes(spec: ModelSpec): number {
  return gramOwners(spec).reduce((sum, role) => sum + spec.linearShapes[role].cols ** 2, 0) * F32 * 3;
}

/** Throws `resources` when the machine cannot hold the run; `advice` says what would take less memory. */
export async function checkResources(
  use: Pick<ResourceUse, "memoryBytes" | "diskBytes">,
  memoryLimit: number,
  work: string,
  advice = "train less (--tune scales or none) or use shorter windows",
): Promise<void> {
  const memory = Math.min(memoryLimit, totalmem());
  if (use.memoryBytes > memory) {
    throw new SubbitError(
      "resources",
      `This run needs about ${megabytes(use.memoryBytes)} of memory, but ${megabytes(memory)} may be used; ` +
        `raise --memory-limit, ${advice}.`,
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
