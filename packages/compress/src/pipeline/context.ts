/** What every stage of a run shares. */
import type { LinearSite, Model, ModelSpec, OnProgress } from "@subbit/core";
import type { BlockPrograms, CompileOptions } from "@subbit/engine";
import type { Windows } from "../calibrate/windows.js";
import type { Json } from "../ledger/canonical.js";
import type { Ledger, StepKey } from "../ledger/ledger.js";
import type { TuneLevel } from "../choices.js";
import type { Plan, PlanRow } from "../plan/plan.js";
import type { Recipe } from "../recipe.js";
import type { EndsState } from "../student/model-state.js";
import type { TeacherBlocks } from "../student/teacher-blocks.js";

export interface RunContext {
  readonly model: Model;
  readonly spec: ModelSpec;
  readonly plan: Plan;
  readonly recipe: Recipe;
  readonly tune: TuneLevel;
  readonly ledger: Ledger;
  readonly teacher: TeacherBlocks;
  readonly teacherEnds: EndsState;
  /** The student's embedding and head are already those of the file. */
  readonly studentEnds: EndsState;
  /** What these two were made by. */
  readonly endsKey: StepKey;
  readonly windows: Windows;
  readonly compile: CompileOptions;
  readonly programs: BlockPrograms;
  /** Key of teacher, windows, threads and device: what every step depends on. */
  readonly root: StepKey;
  readonly seed: number;
  /** Whether activations of all windows stay in memory. */
  readonly hiddenInMemory: boolean;
  /**
   * Whether the stage table also wants the student as factorised, before blocks were tuned: `compressBlocks` is then
   * run once more without tuning. @default false
   */
  readonly reportInit?: boolean;
  /** Seconds between snapshots of a distillation. */
  readonly snapshotSeconds: number;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal;
}

/** The plan's row of a linear. */
export function rowOf(plan: Plan, site: LinearSite): PlanRow {
  const row = plan.rows.find(({ site: { layer, role } }) => layer === site.layer && role === site.role);
  if (row === undefined) throw new RangeError(`The plan has no linear ${site.role} of block ${site.layer}.`);
  return row;
}

/** The first `limit` windows. */
export function someWindows(windows: Windows, limit: number): Windows {
  if (windows.count <= limit) return windows;
  return { ids: windows.ids.subarray(0, limit * windows.seqlen), count: limit, seqlen: windows.seqlen };
}

/** A value of plain data as JSON for a key. */
export function asJson(value: object): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}
