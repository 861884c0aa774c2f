/** What a multiple-choice task is, and what its rows become. */
import type { z } from "zod";

/** One scored text: the log-likelihood of `continuation` after `context`. */
export interface ChoiceRequest {
  readonly context: string;
  readonly continuation: string;
}

/** A row of a task, ready to be scored. */
export interface ChoiceRow {
  /** One a choice, at least two. */
  readonly requests: readonly ChoiceRequest[];
  /** Index of the right choice. */
  readonly gold: number;
  /** Texts whose lengths divide the log-likelihoods for accNorm; absent where the task has acc only. */
  readonly choices?: readonly string[];
}

export interface TaskDefinition {
  readonly name: string;
  /** From a row of the data file to what is scored. Messages of its issues are shown to users. */
  readonly row: z.ZodType<ChoiceRow>;
}

/** A row with its index in the data file (from 0, blank lines not counted). */
export interface TaskRow extends ChoiceRow {
  readonly row: number;
}
