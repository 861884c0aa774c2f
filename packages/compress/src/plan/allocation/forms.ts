/** Forms that an allocation chooses from, and the ranks at which their errors are measured. */
import { rankForBits, SubbitError } from "@subbit/core";
import { methodForm } from "../../factorise/choice.js";
import type { AllocationForm } from "../../options.js";
import { storage } from "../budget.js";
import { checkForm, type MethodShape, withEnvelopes } from "../methods.js";
import type { Plan, PlanRow } from "../plan.js";
import { type FormChoice, largestRankOf } from "./allocate.js";

/** Multiples of the uniform rank at which the error is measured. */
const MEASURED_FACTORS = [0.5, 1, 2];

/** Forms of one linear, the plan's own first; those that the budget cannot buy are left out. */
export function formsOf(
  plan: Plan,
  row: PlanRow,
  asked: readonly AllocationForm[] | undefined,
): FormChoice[] {
  const own: MethodShape = {
    method: row.method ?? plan.method,
    paths: row.paths,
    envelope: row.envelope,
    midScale: row.midScale,
    scaleBits: row.scaleBits,
  };
  const forms = [{ shape: own, uniformRank: row.rank }];
  for (const { paths, envelope } of asked ?? []) {
    if (paths === own.paths && envelope === own.envelope) continue;
    // The plan's method where it can; else the one with envelopes.
    const method = envelope > 1 && !methodForm(own.method).envelopes ? withEnvelopes()[0] : own.method;
    checkForm(method, method, paths, envelope);
    const shape = { ...own, method, paths, envelope, midScale: methodForm(method).midScale };
    const { rows, cols } = row;
    const rank = rankForBits({ rows, cols, ...storage(shape), bpw: row.bpw });
    const uniformRank = Math.min(rank, largestRankOf(plan, shape, rows, cols));
    if (uniformRank >= 1) forms.push({ shape, uniformRank });
  }
  return forms;
}

/** Ranks to measure a form at, smallest first. */
export function measuredRanks(plan: Plan, row: PlanRow, { shape, uniformRank }: FormChoice): number[] {
  const largest = largestRankOf(plan, shape, row.rows, row.cols);
  const ranks = MEASURED_FACTORS.map((factor) =>
    Math.min(largest, Math.max(1, Math.round(factor * uniformRank))),
  );
  return [...new Set(ranks)];
}

/** `1x1,2x1,1x2`: paths x envelope. Throws `usage` for anything else. */
export function parseForms(text: string): AllocationForm[] {
  return text.split(",").map((part) => {
    const match = /^\s*([1-8])x(\d{1,2})\s*$/.exec(part);
    if (match) return { paths: Number(match[1]), envelope: Number(match[2]) };
    throw new SubbitError(
      "usage",
      `A form is paths x envelope, such as 1x1 or 2x4, and "${part.trim()}" is none; give some with commas between.`,
    );
  });
}
