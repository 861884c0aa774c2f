/** What `train` takes and gives. Texts are read, mixed and cut into windows by the caller. */
import type { Model, OnProgress } from "@subbit/core";
import type { Windows } from "../calibrate/windows.js";
import type { Evaluation, StepReport } from "../distil/types.js";
import type { EvaluationText } from "../options.js";
import type { DistilRecipe, TrainRecipeName } from "../train-recipe.js";

export interface TrainOptions {
  /** Packed, in any format; stays open, the caller closes it. */
  student: Model;
  /** Dense, of the student's shape; stays open. */
  teacher: Model;
  /** Folder to make, whole or not at all. */
  out: string;
  /** Replace an existing `out`. @default false */
  overwrite?: boolean;
  /** Training windows, seen in an order drawn by `seed`, and again when they are all used up. */
  data: Windows;
  /** What they are made of, for the manifest. @default [] */
  dataNames?: readonly string[];
  recipe: DistilRecipe;
  /** The recipe that `recipe` was made from. */
  recipeName: TrainRecipeName;
  /**
   * Magnitude that all latents start at: the smaller, the sooner signs flip. @default 1, 0.5 with the clipped surrogate,
   * 0.01 where the recipe takes latents raw
   */
  latentStart?: number;
  /** Tokens to train on; rounded to whole steps, one at least. @default one pass over the data */
  tokens?: number;
  /** When given, the state with the lowest perplexity on it is kept. */
  evaluation?: EvaluationText;
  /** Steps between two evaluations. @default a tenth of the steps */
  evaluateEvery?: number;
  /** Run ledger, kept after success. @default `OUT.work`, removed after success */
  work?: string;
  /** Seconds between snapshots: what a kill may cost. @default 60 */
  checkpointSeconds?: number;
  /** Threads of the engine. @default all cores */
  threads?: number;
  /** @default 0 */
  seed?: number;
  /** Execution provider of the engine. @default "cpu" */
  device?: string;
  /** Bytes that the run may use. @default 3 GiB */
  memoryLimit?: number;
  /** sha256 of the weight file(s), for the manifest. @default a hash of config and all tensors */
  teacherSha256?: string;
  /** Side files of the student that go into the folder as they are: tokenizer.json ... */
  sideTexts?: ReadonlyMap<string, string>;
  /** `subbit 0.1.0`; stands in the manifest. @default "subbit" */
  writtenBy?: string;
  /** Called before the first step of this run; not where the training is found finished. */
  onStart?: (start: TrainStart) => void;
  onStep?: (report: StepReport) => void;
  onEvaluate?: (evaluation: Evaluation) => void;
  onProgress?: OnProgress;
  signal?: AbortSignal;
  /** Logits [ids.length, vocab] of the packed folder through the runtime, for verification. */
  runtimeLogits?: (dir: string, ids: Int32Array) => Promise<Float32Array>;
  /** Quality of the packed folder as users will run it; goes into manifest, card and result. Must not hold times. */
  measure?: (dir: string) => Promise<Record<string, unknown>>;
}

/** Where a run begins. */
export interface TrainStart {
  readonly steps: number;
  /** Steps that an earlier run has done already. */
  readonly from: number;
  /** Evaluations that belong to these. */
  readonly evaluations: number;
}

export interface TrainResult {
  readonly out: string;
  readonly steps: number;
  readonly tokens: number;
  /** Of the steps alone, evaluations left out; of the run that did the last of them. */
  readonly tokensPerSecond: number;
  /** Of each step, before its update. */
  readonly losses: readonly number[];
  /** Mean KL of a sample of the windows before and after, nats a token. */
  readonly lossBefore: number;
  readonly lossAfter: number;
  /** Perplexities by the engine, before scales are rounded. */
  readonly evaluations: readonly Evaluation[];
  /** Steps after which the student was as it was kept. */
  readonly keptStep: number;
  /** Honest bits per weight of all linears, as `inspect` states it: the student's. */
  readonly bpw: number;
  readonly paperBpw: number;
  readonly fileBytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakRssBytes: number;
  /** Packed file through the runtime against the engine; absent without `runtimeLogits`. */
  readonly verify?: { readonly maxAbsDifference: number; readonly tokens: number };
  /** What `measure` returned. */
  readonly quality?: Record<string, unknown>;
  readonly warnings: readonly string[];
}
