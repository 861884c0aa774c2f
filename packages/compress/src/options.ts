/**
 * What `compress` and `planModel` take and give: the types that the command line builds on.
 *
 * Texts are read by the caller (core's text reading): here calibration and evaluation are flat token ids.
 */
import type { Model, OnProgress, ScaleBits } from "@subbit/core";
import type {
  Allocation,
  BitsFormula,
  EmbedBits,
  EmbedMethod,
  Init,
  Method,
  Preset,
  TuneLevel,
} from "./choices.js";
import type { Schedule } from "./factorise/types.js";
import type { Plan } from "./plan/plan.js";
import type { PlanFile } from "./plan/plan-file.js";
import type { RecipeOverrides } from "./recipe.js";

/** Paths and envelope that an allocation may give a linear. */
export interface AllocationForm {
  readonly paths: number;
  /** l */
  readonly envelope: number;
}

/** What decides the size of the result. Give `bpw` or `bytes`, not both; neither beside `plan`. */
export interface PlanOptions {
  /** @default "auto": the best measured method for the size asked. */
  method?: Method | "auto";
  /** @default the method's own, the first of its list in plan/methods.ts */
  init?: Init;
  /** Iterations and schedules of the factorisations. @default "tuned" */
  schedule?: Schedule;
  /**
   * Honest bits per weight of the linears that are compressed. @default 0.8 when `bytes` is not given; for onebit what
   * it costs
   */
  bpw?: number;
  /** Budget of the weight file, embeddings and norms included. */
  bytes?: number;
  /** @default "honest" */
  bitsFormula?: BitsFormula;
  /** Paths of a factored linear. @default the method's own: 2 for littlebit, else 1 */
  paths?: number;
  /** l, the rank of the magnitude envelopes; above 1 for mdbf only. @default 2 for mdbf, else 1 */
  envelope?: number;
  /** Width of a stored scale. @default 16 for methods asked for by name, `AUTO.scaleBits` for auto */
  scaleBits?: ScaleBits;
  /** Multiplies the rank of k and v. @default 1 */
  kvFactor?: number;
  /** Blocks at the start that stay dense (f16). @default 0 */
  keepFirst?: number;
  /** Blocks at the end that stay dense (f16). @default 0 */
  keepLast?: number;
  /** Bits of a value of embedding and head stored by rows. @default 16 */
  embedBits?: EmbedBits;
  /** @default "rows" */
  embedMethod?: EmbedMethod;
  /** Bits per weight of a factored embedding and head. @default 1 */
  embedBpw?: number;
  /** `loss` needs calibration: `planModel` alone gives the uniform plan it starts from. @default `loss` for auto, else `uniform` */
  allocate?: Allocation;
  /** Forms that an allocation by loss chooses from for each linear. @default the method's own only */
  allocateForms?: readonly AllocationForm[];
  /** Says every linear's form and rank (plan/plan-file.ts); excludes all that it decides. */
  plan?: PlanFile;
}

/** Token ids of a text, tokenised once by the caller. */
export interface TokenText {
  readonly ids: Int32Array;
  /** What to call it in messages and on the card, such as a file name. */
  readonly name: string;
}

/** A text to measure intermediate states on: windows of `seqlen` without overlap. */
export interface EvaluationText extends TokenText {
  readonly seqlen: number;
  /** At most so many windows, the first ones. @default all */
  readonly windows?: number;
}

export interface CompressOptions extends PlanOptions {
  /** The teacher; stays open, the caller closes it. */
  model: Model;
  /** Folder to make. Written beside (`OUT.partial`) and renamed when whole. */
  out: string;
  /** Replace an existing `out`. @default false */
  overwrite?: boolean;
  calibration: TokenText;
  /** Calibration windows. @default 128 */
  samples?: number;
  /** Tokens of a calibration window. @default 512 */
  seqlen?: number;
  /** @default "full", the best measured per second */
  tune?: TuneLevel;
  /** Tokens seen by the whole-model distillation (windows repeat). @default the recipe's epochs times the calibration tokens */
  trainTokens?: number;
  /** @default "default" */
  preset?: Preset;
  /** Hyperparameters that differ from the preset's. */
  recipe?: RecipeOverrides;
  /** When given, perplexity is measured by the engine after each stage and stands in the stage table. */
  evaluation?: EvaluationText;
  /**
   * Whether, where blocks are tuned and there is an evaluation text, the student as factorised is measured too; costs the
   * factorisation once more. @default false
   */
  reportInit?: boolean;
  /** Run ledger, kept after success. @default `OUT.work`, removed after success */
  work?: string;
  /** Bytes that the run may use; activations and weights beyond it go to files or are read again. @default 3 GiB */
  memoryLimit?: number;
  /** Seconds between snapshots of a distillation: what a kill may cost. @default 60 */
  snapshotSeconds?: number;
  /** Threads of the engine. @default all cores */
  threads?: number;
  /** @default 0 */
  seed?: number;
  /** Execution provider of the engine. @default "cpu" */
  device?: string;
  /** sha256 of the teacher's weight file(s), for the manifest. @default a hash of config and all tensors */
  teacherSha256?: string;
  /** Side files that go into the folder as they are: tokenizer.json, tokenizer_config.json, generation_config.json ... */
  sideTexts?: ReadonlyMap<string, string>;
  /** `subbit 0.1.0`; stands in the manifest. @default "subbit" */
  writtenBy?: string;
  onProgress?: OnProgress;
  signal?: AbortSignal;
  /**
   * Logits [ids.length, vocab] of the packed folder through the runtime, for verification. Left out, the packed file is
   * read back and compared tensor by tensor only.
   */
  runtimeLogits?: (dir: string, ids: Int32Array) => Promise<Float32Array>;
  /** Quality of the packed folder as users will run it; goes into manifest, card and result. Must not hold times. */
  measure?: (dir: string) => Promise<Record<string, unknown>>;
}

/** One row of the stage table. */
export interface StageReport {
  /** "calibrate", "factorise", "blocks", "scales", "full", "package", "verify" ... */
  readonly stage: string;
  /** Wall time of this run; 0 when everything was found in the ledger. */
  readonly seconds: number;
  /** CPU time of the process over the stage. */
  readonly cpuSeconds: number;
  /** Engine perplexity after the stage, where an evaluation text was given. */
  readonly perplexity?: number;
  /** Training tokens processed by the stage. */
  readonly tokens?: number;
  /** Loss before and after, in the stage's own unit (KL in nats a token for the distillation). */
  readonly lossBefore?: number;
  readonly lossAfter?: number;
}

export interface CompressResult {
  readonly out: string;
  /** Honest bits per weight over all linears of the blocks, as `inspect` states it. */
  readonly bpw: number;
  /** Of the compressed linears, by the method's published formula. */
  readonly paperBpw: number;
  /** Bytes of the weight file(s). */
  readonly fileBytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakRssBytes: number;
  readonly plan: Plan;
  readonly stages: readonly StageReport[];
  /** Perplexity of the teacher on the evaluation text, by the engine. */
  readonly teacherPerplexity?: number;
  /** Packed file through the runtime against the engine; absent without `runtimeLogits`. */
  readonly verify?: { readonly maxAbsDifference: number; readonly tokens: number };
  /** What `measure` returned. */
  readonly quality?: Record<string, unknown>;
  readonly warnings: readonly string[];
}
