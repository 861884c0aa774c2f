/** acc and accNorm of rows, and of a task with standard errors, by lm-evaluation-harness's formulas. */
import { codePoints } from "./python-text.js";
import type { ChoiceRow, TaskRow } from "./types.js";

/** Sums of log-probabilities in nats, one a choice. */
export type LogLikelihoods = readonly number[];

export interface RowScore {
  readonly row: number;
  readonly logLikelihoods: LogLikelihoods;
  /** 1 where the likeliest choice is the right one, else 0. */
  readonly acc: number;
  /** The same after division by the length of the choice's text in characters; null where the task has acc only. */
  readonly accNorm: number | null;
}

export interface TaskReport {
  /** Share of rows. */
  readonly acc: number;
  /** Standard error of the mean; null for a single row. */
  readonly accStderr: number | null;
  readonly accNorm: number | null;
  readonly accNormStderr: number | null;
  readonly n: number;
  readonly rows: readonly RowScore[];
  /** With a teacher: its figures, and the share of rows where both find the same choice likeliest. */
  readonly teacher?: Pick<TaskReport, "acc" | "accStderr" | "accNorm" | "accNormStderr">;
  readonly choiceAgreement?: number;
}

/** @param teacher log-likelihoods of the same rows by another model */
export function summariseTask(
  rows: readonly TaskRow[],
  logLikelihoods: readonly LogLikelihoods[],
  teacher?: readonly LogLikelihoods[],
): TaskReport {
  const scores = rows.map((row, i) => scoreRow(row, logLikelihoods[i]));
  const report = { ...means(scores), n: rows.length, rows: scores };
  if (teacher === undefined) return report;
  const agreed = rows.filter((_, i) => likeliest(logLikelihoods[i]) === likeliest(teacher[i]));
  return {
    ...report,
    teacher: means(rows.map((row, i) => scoreRow(row, teacher[i]))),
    choiceAgreement: agreed.length / rows.length,
  };
}

function scoreRow({ row, gold, choices }: TaskRow, logLikelihoods: LogLikelihoods): RowScore {
  const norm = choices && likeliest(normalised(logLikelihoods, choices));
  return {
    row,
    logLikelihoods,
    acc: Number(likeliest(logLikelihoods) === gold),
    accNorm: norm === undefined ? null : Number(norm === gold),
  };
}

/** Characters are code points, without the blank before the choice; an empty choice never wins. */
function normalised(logLikelihoods: LogLikelihoods, choices: NonNullable<ChoiceRow["choices"]>): number[] {
  return logLikelihoods.map((value, i) => value / codePoints(choices[i]));
}

/** Index of the largest; the first one wins a tie. */
function likeliest(values: LogLikelihoods): number {
  return values.indexOf(Math.max(...values));
}

function means(scores: readonly RowScore[]): NonNullable<TaskReport["teacher"]> {
  const acc = scores.map((score) => score.acc);
  const norm = scores.flatMap((score) => score.accNorm ?? []);
  return {
    acc: mean(acc),
    accStderr: standardError(acc),
    accNorm: norm.length === 0 ? null : mean(norm),
    accNormStderr: norm.length === 0 ? null : standardError(norm),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation (n - 1) over sqrt(n). */
function standardError(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}
