/** What whole-model distillation takes and gives. */
import type { ModelSpec } from "@subbit/core";
import type { CompileOptions } from "@subbit/engine";
import type { Windows } from "../calibrate/windows.js";
import type { HiddenSource } from "../student/hidden-store.js";
import type { EndsState, ModelState } from "../student/model-state.js";
import type { TeacherBlocks } from "../student/teacher-blocks.js";
import type { DistilRecipe } from "../train-recipe.js";

export interface DistilTask {
  readonly spec: ModelSpec;
  /** Trained in place. */
  readonly student: ModelState;
  readonly teacher: EndsState;
  /** What leaves the teacher's last block, by window. Not used where the recipe has a hidden-state loss. */
  readonly teacherHidden?: HiddenSource;
  /** The teacher itself, run beside the student: for a hidden-state loss, or where there is no `teacherHidden`. */
  readonly teacherBlocks?: TeacherBlocks;
  readonly windows: Windows;
  readonly recipe: DistilRecipe;
  /** Optimizer steps. */
  readonly steps: number;
  readonly seed: number;
}

/** The value of `evaluate` after so many steps. */
export interface Evaluation {
  readonly step: number;
  readonly value: number;
}

/** State between two steps. Its arrays are the trainer's own: store or copy them before the next step. */
export interface DistilSnapshot {
  readonly arrays: ReadonlyMap<string, Float32Array | Uint8Array>;
  /** Steps done. */
  readonly step: number;
  /** Loss of each step so far. */
  readonly losses: readonly number[];
  /** Mean KL of the sample before the first step. */
  readonly lossBefore: number;
  readonly evaluations: readonly Evaluation[];
}

/** One step, as it was before its update. */
export interface StepReport {
  /** Steps done, this one included. */
  readonly step: number;
  readonly steps: number;
  /** Tokens seen so far. */
  readonly tokens: number;
  /** What the step lowers: the weighted sum of the two below. */
  readonly loss: number;
  /** Mean KL(teacher || student), nats a token. */
  readonly logitsLoss: number;
  /** Of the hidden states, before its weight. */
  readonly hiddenLoss?: number;
  /** Of the whole gradient before clipping; only where it is gathered (clipping or accumulation). */
  readonly gradientNorm?: number;
  /** Factor of the schedule. */
  readonly rate: number;
  /** Of this step. */
  readonly seconds: number;
}

export interface DistilOptions extends CompileOptions {
  readonly signal?: AbortSignal;
  /** Where to go on. @default the beginning */
  readonly from?: DistilSnapshot;
  /** Called after each step. */
  readonly onStep?: (report: StepReport) => void;
  /** Called when `snapshotSeconds` have passed since the last one, and when the signal fires. */
  readonly snapshot?: (state: DistilSnapshot) => Promise<void>;
  /** @default 60 */
  readonly snapshotSeconds?: number;
  /** Steps between two evaluations; one more before the first step and after the last. @default none */
  readonly evaluateEvery?: number;
  /**
   * Judges a state, lower is better: the student's own arrays, averaged ones where the recipe averages. The best state
   * is what the student holds at the end.
   */
  readonly evaluate?: (state: ModelState, step: number) => Promise<number>;
}

export interface DistilResult {
  /** Loss of each step: nats a token where KL is the only loss. */
  readonly losses: readonly number[];
  /** Mean KL of the sample windows before and after, in nats a token. */
  readonly lossBefore: number;
  readonly lossAfter: number;
  readonly evaluations: readonly Evaluation[];
  /** Steps after which the student was as it is left; present where it was evaluated. */
  readonly bestStep?: number;
}
