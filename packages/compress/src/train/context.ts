/** What the stages of a training share, and how it comes from the options. */
import { availableParallelism } from "node:os";
import type { ModelSpec, OnProgress } from "@subbit/core";
import type { CompileOptions } from "@subbit/engine";
import { firstWindows, type Windows } from "../calibrate/windows.js";
import { tokensOfStep } from "../distil/distil.js";
import { sha256 } from "../ledger/canonical.js";
import type { Ledger, StepKey } from "../ledger/ledger.js";
import { bytesOf, checkpointHash } from "../pipeline/fingerprint.js";
import { type EndsState, type ModelState, readEnds } from "../student/model-state.js";
import { readPackedState } from "../student/read-packed.js";
import { TeacherBlocks } from "../student/teacher-blocks.js";
import type { DistilRecipe } from "../train-recipe.js";
import type { TrainOptions } from "./options.js";
import type { TrainingUse } from "./resources.js";

const DEFAULT_CHECKPOINT_SECONDS = 60;
/** Evaluations of a run where nothing says how often. */
const DEFAULT_EVALUATIONS = 10;

/** How many steps of how many tokens. */
export interface TrainLength {
  readonly steps: number;
  readonly tokensPerStep: number;
}

export interface TrainContext extends TrainLength {
  readonly spec: ModelSpec;
  readonly ledger: Ledger;
  /** As its file has it until it is trained, in place. */
  readonly student: ModelState;
  /** The same, read again. */
  readonly freshStudent: () => Promise<ModelState>;
  readonly teacher: TeacherBlocks;
  readonly teacherEnds: EndsState;
  readonly windows: Windows;
  readonly recipe: DistilRecipe;
  /** Magnitude of all latents before the first step. */
  readonly latentStart: number;
  readonly seed: number;
  readonly evaluation?: Windows;
  readonly evaluateEvery: number;
  readonly compile: CompileOptions;
  /** Key of student, teacher, windows, threads and device. */
  readonly root: StepKey;
  readonly studentSha256: string;
  readonly teacherSha256: string;
  readonly windowsSha256: string;
  readonly checkpointSeconds: number;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal;
}

/** The number of steps that comes nearest to the tokens asked for. */
export function trainLength({ data, recipe, tokens }: TrainOptions): TrainLength {
  const tokensPerStep = tokensOfStep({ recipe, windows: data });
  const wanted = tokens ?? data.count * data.seqlen;
  return { steps: Math.max(1, Math.round(wanted / tokensPerStep)), tokensPerStep };
}

/** Windows of the evaluation text, where there is one. Throws `input` when it does not fill one. */
export function evaluationWindows({ evaluation }: TrainOptions): Windows | undefined {
  return evaluation && firstWindows(evaluation, evaluation.seqlen, evaluation.windows);
}

/** Reads student and ends into memory and hashes what the run works on. */
export async function openTraining(
  options: TrainOptions,
  length: TrainLength,
  use: TrainingUse,
  ledger: Ledger,
): Promise<TrainContext> {
  const { student, teacher, data, recipe, seed = 0, signal } = options;
  const latentStart = options.latentStart ?? latentMagnitude(recipe);
  const compile: CompileOptions = {
    threads: options.threads ?? availableParallelism(),
    // Threads that wait by spinning double the CPU time and starve whatever else the machine does.
    spin: false,
    ...(options.device !== undefined && { device: options.device as NonNullable<CompileOptions["device"]> }),
  };
  const teacherSha256 = options.teacherSha256 ?? (await checkpointHash(teacher.checkpoint, signal));
  const studentSha256 = await checkpointHash(student.checkpoint, signal);
  const windowsSha256 = sha256(bytesOf(data.ids));
  const teacherEnds = await readEnds(teacher);
  const freshStudent = async (): Promise<ModelState> => {
    const state = await readPackedState(student, latentStart);
    return { ...state, ends: sharedEnds(state.ends, teacherEnds) };
  };
  const evaluation = evaluationWindows(options);
  return {
    ...length,
    spec: student.spec,
    ledger,
    student: await freshStudent(),
    freshStudent,
    teacher: new TeacherBlocks(teacher, use.keepTeacher),
    teacherEnds,
    windows: data,
    recipe,
    latentStart,
    seed,
    ...(evaluation && { evaluation }),
    evaluateEvery: options.evaluateEvery ?? Math.ceil(length.steps / DEFAULT_EVALUATIONS),
    compile,
    root: sha256(JSON.stringify([studentSha256, teacherSha256, windowsSha256, data.seqlen, compile])),
    studentSha256,
    teacherSha256,
    windowsSha256,
    checkpointSeconds: options.checkpointSeconds ?? DEFAULT_CHECKPOINT_SECONDS,
    onProgress: options.onProgress ?? (() => {}),
    ...(signal && { signal }),
  };
}

/** Where a recipe takes latents as they come: OneBit's start, and where LittleBit's surrogate of width 100 has its slope. */
const RAW_MAGNITUDE = 0.01;
/** Well within the window of plus and minus 1 in which the clipped surrogate has a slope. */
const CLIPPED_MAGNITUDE = 0.5;

/** A file says nothing of how firm its signs are, so all latents start at one magnitude, where the surrogate has a slope. */
export function latentMagnitude({ latents, surrogate }: Pick<DistilRecipe, "latents" | "surrogate">): number {
  if (latents === "raw") return RAW_MAGNITUDE;
  return surrogate.kind === "clipped" ? CLIPPED_MAGNITUDE : 1;
}

/** The student's ends with the teacher's own arrays where the values are the same, so that a shared head is seen to be shared. */
function sharedEnds(own: EndsState, teacher: EndsState): EndsState {
  const pick = (values: Float32Array, known: Float32Array) => (sameValues(values, known) ? known : values);
  const embedding = pick(own.embedding, teacher.embedding);
  return {
    ...own,
    embedding,
    head: own.head === own.embedding ? embedding : pick(own.head, teacher.head),
  };
}

function sameValues(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
