/** A plan: what every linear will be and what every byte of the file will hold, known before any work starts. */
import type { LinearSite, ScaleBits } from "@subbit/core";
import type { FactoriseMethod } from "../factorise/types.js";
import type { BitsFormula, EmbedBits, Init, Method } from "../choices.js";

/** One linear of the model; rank, paths and midScale are 0, 0 and false when it stays dense. */
export interface PlanRow {
  readonly site: LinearSite;
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly kind: "factored" | "onebit" | "dense";
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
  /** Honest bits per weight, `bytes * 8 / (rows * cols)`. */
  readonly bpw: number;
  /** By the method's published formula. */
  readonly paperBpw: number;
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

export interface Plan {
  readonly method: Method;
  readonly init: Init;
  /** The algorithm that finds signs and scales. */
  readonly factoriser: FactoriseMethod;
  readonly bitsFormula: BitsFormula;
  /** The budget in bits per weight that the ranks were sized for. */
  readonly targetBpw: number;
  readonly embedBits: EmbedBits;
  readonly rows: readonly PlanRow[];
  readonly totals: PlanTotals;
}
