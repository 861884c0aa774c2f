/** A plan: what every linear will be and what every byte of the file will hold, known before any work starts. */
import type { LinearSite, ScaleBits } from "@subbit/core";
import type { FactoriseMethod, Schedule } from "../factorise/types.js";
import type { BitsFormula, EmbedBits, EmbedMethod, Init, Method } from "../choices.js";

/** One linear of the model; rank, paths, envelope and midScale are 0, 0, 0 and false when it stays dense. */
export interface PlanRow {
  readonly site: LinearSite;
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly kind: "factored" | "onebit" | "dense";
  /** Where a linear is made by another method than the rest. @default the plan's */
  readonly method?: Method;
  /** Of the first path; 0 unless factored. */
  readonly rank: number;
  /** One a path, where they differ. */
  readonly ranks?: readonly number[];
  readonly paths: number;
  /** l */
  readonly envelope: number;
  readonly midScale: boolean;
  readonly scaleBits: ScaleBits;
  /** Stored bytes: signs with padding, scales, bias. */
  readonly bytes: number;
  /** Honest bits per weight, those of the bias left out. */
  readonly bpw: number;
  /** By the method's published formula. */
  readonly paperBpw: number;
}

/** The embedding or the head as it will be stored. */
export interface TableRow {
  readonly part: "embeddings" | "head";
  /** With `.weight`. */
  readonly name: string;
  /** Vocabulary. */
  readonly rows: number;
  /** Hidden size. */
  readonly cols: number;
  readonly kind: "factored" | "dense";
  /** Of a value of a dense table; 0 when it is factored. */
  readonly bits: EmbedBits | 0;
  /** Whose form and algorithm a factored table has. */
  readonly method: Method;
  /** This and the next two are 0 when it is dense. */
  readonly rank: number;
  readonly paths: number;
  readonly envelope: number;
  readonly midScale: boolean;
  readonly scaleBits: ScaleBits;
  readonly bytes: number;
  /** bytes * 8 / (rows * cols) */
  readonly bpw: number;
}

export interface PlanTotals {
  /** Honest bits per weight over all linears of the blocks, those kept dense included; what `inspect` states. */
  readonly bpw: number;
  /** Over the compressed linears only; the budget is theirs. */
  readonly compressedBpw: number;
  /** Over the compressed linears, by the method's published formula. */
  readonly paperBpw: number;
  /** Weights of all linears of the blocks. */
  readonly linearWeights: number;
  /** Of them, in compressed linears. */
  readonly compressedWeights: number;
  readonly linearBytes: number;
  readonly embeddingBytes: number;
  /** 0 when the head is tied. */
  readonly headBytes: number;
  readonly normBytes: number;
  /** File header. */
  readonly otherBytes: number;
  /** All of the above. */
  readonly fileBytes: number;
  /** Weight file(s) of the teacher. */
  readonly teacherBytes: number;
}

/** How the ranks came about. */
export type PlanAllocation =
  | { readonly kind: "uniform" }
  /** From a plan file. */
  | { readonly kind: "file" }
  | LossAllocation;

/** Ranks by predicted loss (plan/allocation/). */
export interface LossAllocation {
  readonly kind: "loss";
  /** Exponent on what an error of each linear is estimated to cost. */
  readonly damping: number;
  /** The damped estimate that was minimised, of the uniform plan and of this one; comparable with one another only. */
  readonly objectiveUniform: number;
  readonly objective: number;
  /** Second-order estimate of the loss that the factorisation adds, nats a token, before any training. */
  readonly predictedUniform: number;
  readonly predicted: number;
  /** One a compressed linear, in model order. */
  readonly linears: readonly AllocatedLinear[];
}

export interface AllocatedLinear {
  readonly name: string;
  /** Estimated loss at relative error 1, nats a token. */
  readonly sensitivity: number;
  /** Squared relative errors measured by short factorisations. */
  readonly curves: readonly ErrorCurve[];
  readonly uniformBpw: number;
  /** Squared relative errors that the curves predict, at the uniform rank and at the chosen one. */
  readonly squaredErrorUniform: number;
  readonly squaredError: number;
}

/** Squared relative error (weighted by the moments) against rank, of one form. */
export interface ErrorCurve {
  readonly paths: number;
  readonly envelope: number;
  readonly points: readonly { readonly rank: number; readonly squaredError: number }[];
}

export interface Plan {
  readonly method: Method;
  readonly init: Init;
  /** The algorithm that finds signs and scales. */
  readonly factoriser: FactoriseMethod;
  readonly schedule: Schedule;
  readonly bitsFormula: BitsFormula;
  /** The budget in bits per weight that the ranks were sized for; what the linears cost where there was none. */
  readonly targetBpw: number;
  /** Of dense tables; 16 beside factored ones, which it does not concern. */
  readonly embedBits: EmbedBits;
  readonly embedMethod: EmbedMethod;
  readonly embedding: TableRow;
  /** Absent when the head is tied to the embedding. */
  readonly head?: TableRow;
  readonly allocation: PlanAllocation;
  readonly rows: readonly PlanRow[];
  readonly totals: PlanTotals;
}
