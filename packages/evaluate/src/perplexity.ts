/**
 * Perplexity by the GPTQ protocol: windows without overlap, mean negative log-likelihood over the seqlen - 1 targets of
 * each (the first token of a window is never a target), ppl = exp(mean over windows). With a teacher, KL(teacher||student)
 * and top-1 agreement are taken over the same positions in the same pass.
 */
import { inputError, SubbitError, throwIfAborted, type OnProgress } from "@subbit/core";
import { argmax, klDivergence, logSumExp } from "./distribution.js";
import { RowReader } from "./row-reader.js";
import type { Scorer } from "./scorer.js";

export interface PerplexityText {
  readonly ids: Int32Array;
  /** Tokens of a window, at least 2. */
  readonly seqlen: number;
  /** At most so many windows, from the start. @default all that fit */
  readonly windows?: number | undefined;
}

export interface PerplexityOptions {
  /** Same vocabulary as the student. */
  readonly teacher?: Scorer | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface WindowNlls {
  readonly ppl: number;
  /** Mean over windows, nats a token. */
  readonly nll: number;
  /** Mean of each window. */
  readonly windows: readonly number[];
}

export interface PerplexityReport extends WindowNlls {
  readonly seqlen: number;
  /** Tokens the model read. */
  readonly tokens: number;
  /** Of them, predicted: windows * (seqlen - 1). */
  readonly targets: number;
  /** First ids of the text, at most 64, for comparison with another tokenizer's. */
  readonly firstIds: readonly number[];
  /** With a teacher: its figures, mean KL(teacher||student) in nats a token, share of equal argmaxes. */
  readonly teacher?: WindowNlls;
  readonly kl?: number;
  readonly top1Agreement?: number;
}

const FIRST_IDS = 64;

/** Throws `input` when the text is shorter than a window or the vocabularies differ. */
export async function evaluatePerplexity(
  text: PerplexityText,
  student: Scorer,
  options: PerplexityOptions = {},
): Promise<PerplexityReport> {
  const windows = cutWindows(text);
  const { teacher } = options;
  if (teacher !== undefined && teacher.vocabSize !== student.vocabSize) {
    throw inputError(
      `${teacher.name} was given as teacher, but its vocabulary has ${teacher.vocabSize} tokens and that of ${student.name} has ${student.vocabSize}; give a teacher with the same tokenizer.`,
    );
  }
  const totals: WindowTotals[] = [];
  const report = (): void => options.onProgress?.(progressOf(totals, windows.length));
  report();
  for (const window of windows) {
    throwIfAborted(options.signal);
    totals.push(await scoreWindow(window, student, options));
    report();
  }
  const targets = windows.length * (text.seqlen - 1);
  return {
    ...summarise(totals.map((window) => window.nll / (text.seqlen - 1))),
    seqlen: text.seqlen,
    tokens: windows.length * text.seqlen,
    targets,
    firstIds: [...text.ids.subarray(0, FIRST_IDS)],
    ...(teacher && {
      teacher: summarise(totals.map((window) => window.teacherNll / (text.seqlen - 1))),
      kl: totals.reduce((sum, window) => sum + window.kl, 0) / targets,
      top1Agreement: totals.reduce((sum, window) => sum + window.agreed, 0) / targets,
    }),
  };
}

/** Sums over the targets of one window. */
interface WindowTotals {
  nll: number;
  teacherNll: number;
  kl: number;
  agreed: number;
}

async function scoreWindow(
  ids: Int32Array,
  student: Scorer,
  options: PerplexityOptions,
): Promise<WindowTotals> {
  const totals: WindowTotals = { nll: 0, teacherNll: 0, kl: 0, agreed: 0 };
  const studentRows = new RowReader(student, ids, options.signal);
  const teacherRows = options.teacher && new RowReader(options.teacher, ids, options.signal);
  try {
    for (let t = 0; t + 1 < ids.length; t++) {
      const row = await studentRows.next();
      const norm = logSumExp(row);
      totals.nll += norm - logitOf(row, ids[t + 1], student);
      if (!teacherRows) continue;
      const teacherRow = await teacherRows.next();
      const teacherNorm = logSumExp(teacherRow);
      totals.teacherNll += teacherNorm - teacherRow[ids[t + 1]];
      totals.kl += klDivergence(teacherRow, row, teacherNorm, norm);
      if (argmax(teacherRow) === argmax(row)) totals.agreed++;
    }
  } finally {
    await studentRows.close();
    await teacherRows?.close();
  }
  return totals;
}

function logitOf(row: Float32Array, id: number, scorer: Scorer): number {
  if (id < 0 || id >= row.length) {
    throw inputError(
      `The text holds token ${id}, but ${scorer.name} has a vocabulary of ${row.length}; use the model's own tokenizer.`,
    );
  }
  return row[id];
}

function summarise(windows: number[]): WindowNlls {
  const nll = windows.reduce((sum, value) => sum + value, 0) / windows.length;
  return { ppl: Math.exp(nll), nll, windows };
}

function cutWindows({ ids, seqlen, windows }: PerplexityText): Int32Array[] {
  if (!Number.isInteger(seqlen) || seqlen < 2) {
    throw new SubbitError(
      "usage",
      `Windows of ${seqlen} tokens were asked for; a window needs at least 2, one to read and one to predict.`,
    );
  }
  if (windows !== undefined && (!Number.isInteger(windows) || windows < 1)) {
    throw new SubbitError("usage", `${windows} windows were asked for; give a whole number of at least 1.`);
  }
  const available = Math.floor(ids.length / seqlen);
  if (available === 0) {
    throw inputError(
      `Windows of ${seqlen} tokens were asked for, but the text has only ${ids.length} tokens; give a longer text or a smaller sequence length.`,
    );
  }
  const count = Math.min(available, windows ?? available);
  return Array.from({ length: count }, (_, w) => ids.subarray(w * seqlen, (w + 1) * seqlen));
}

function progressOf(done: readonly WindowTotals[], total: number): Parameters<OnProgress>[0] {
  return { stage: "evaluate", done: done.length, total, unit: "windows" };
}
