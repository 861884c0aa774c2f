/** What a training will need of memory and disk, from shapes alone, checked before it starts. */
import type { Model } from "@subbit/core";
import { MOST_PROGRAMS } from "../distil/model-forward.js";
import { BASE_BYTES, PROGRAM_BYTES, scratchBytes, trainedArrays } from "../pipeline/resources.js";
import type { TrainOptions } from "./options.js";

export interface TrainingUse {
  /** Whether all of the teacher's blocks stay in memory as f32. */
  readonly keepTeacher: boolean;
  /** Estimated peak. */
  readonly memoryBytes: number;
  /** Of the work folder at its largest, and of the output. */
  readonly diskBytes: number;
}

const F32 = 4;
/** Windows that an evaluation runs at once. */
const EVALUATION_BATCH = 4;
/** Slots that snapshots lie in. */
const SNAPSHOTS = 2;

export function estimateTraining(options: TrainOptions, memoryLimit: number): TrainingUse {
  const { student, data, recipe, evaluation } = options;
  const { spec } = student;
  const signs = signCount(student);
  const arrays = trainedArrays(recipe);
  // The best state so far.
  const best = evaluation ? 1 : 0;
  const trained = signs * F32 * (arrays.memory + best);
  const blockWeights = spec.linears.reduce((sum, role) => {
    const { rows, cols } = spec.linearShapes[role];
    return sum + rows * cols;
  }, 0);
  // The student's and the teacher's.
  const ends = 2 * spec.vocabSize * spec.ends.embeddingSize * F32 * (spec.tiedHead ? 1 : 2);
  const batch = Math.max(recipe.batch, evaluation ? EVALUATION_BATCH : 1);
  const scratch = scratchBytes(spec, batch, data.seqlen, recipe);
  // Ranks may differ in every block.
  const programs = Math.min(MOST_PROGRAMS, 2 * spec.layers) * PROGRAM_BYTES;
  const least = BASE_BYTES + programs + ends + 3 * blockWeights * F32 + scratch + trained;
  const teacher = spec.layers * blockWeights * F32;
  const keepTeacher = least + teacher <= memoryLimit;
  return {
    keepTeacher,
    memoryBytes: least + (keepTeacher ? teacher : 0),
    diskBytes: signs * F32 * (arrays.stored + SNAPSHOTS * best) + student.checkpoint.fileBytes,
  };
}

/** Signs of all linears under training. */
function signCount({ manifest }: Model): number {
  return Object.values(manifest?.linears ?? {}).reduce((sum, entry) => {
    if (entry.kind === "dense") return sum;
    if (entry.kind === "onebit") return sum + entry.rows * entry.cols;
    const ranks = entry.ranks ?? Array.from({ length: entry.paths }, () => entry.rank);
    return sum + ranks.reduce((all, rank) => all + rank * (entry.rows + entry.cols), 0);
  }, 0);
}
