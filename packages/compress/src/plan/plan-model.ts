/** `planModel`: from a model and a budget to a plan, before anything is read or computed. */
import { inputError, type Model, type ModelSpec } from "@subbit/core";
import type { Method } from "../choices.js";
import type { PlanOptions } from "../options.js";
import { type BudgetOptions, planRows, roundUp, smallestModelBpw } from "./budget.js";
import {
  checkBesideFile,
  checkedBudget,
  checkedTables,
  chosenAllocation,
  LARGEST_BPW,
} from "./check-options.js";
import { type ChosenMethod, chosenMethod, isOneBit } from "./methods.js";
import type { Plan, PlanRow, PlanTotals } from "./plan.js";
import { type PlanFile, rowsOfFile } from "./plan-file.js";
import { planTables } from "./tables.js";
import { totalsOf } from "./totals.js";

/** The default size where neither `bpw` nor `bytes` is given. */
export const DEFAULT_BPW = 0.8;
/** Bisection steps of a byte budget: enough to tell any two ranks of any shape apart. */
const BISECTIONS = 48;

/**
 * Sizes every linear; with `allocate: "loss"` this is the uniform plan that the allocation starts from. Throws `usage`
 * for options that exclude one another and `input` for a budget that is too small, naming the smallest possible one, or
 * a plan file that does not fit the model.
 */
export function planModel(model: Model, options: PlanOptions = {}): Plan {
  return planSpec(model.spec, options, model.checkpoint.fileBytes);
}

/** The same from a spec alone. */
export function planSpec(spec: ModelSpec, options: PlanOptions, teacherBytes: number): Plan {
  if (options.plan !== undefined) return planOfFile(spec, options.plan, options, teacherBytes);
  const chosen = chosenMethod(options);
  const { shape, init, factoriser } = chosen;
  const budget = checkedBudget(spec, options);
  chosenAllocation(options, shape.method);
  const tableOptions = checkedTables(options, shape.scaleBits);
  const tables = planTables(spec, tableOptions);
  const at = (bpw: number) => {
    const rows = planRows(spec, shape, init, bpw, budget);
    return { rows, totals: totalsOf(spec, shape.method, rows, tables, teacherBytes) };
  };
  const sized = isOneBit(shape.method)
    ? oneBitPlan(shape.method, options, at(LARGEST_BPW))
    : ranked(spec, chosen, budget, options, at);
  return {
    method: shape.method,
    init,
    factoriser,
    schedule: options.schedule ?? "tuned",
    bitsFormula: budget.bitsFormula,
    embedBits: tableOptions.bits,
    embedMethod: tableOptions.method,
    ...tables,
    allocation: { kind: "uniform" },
    ...sized,
  };
}

interface Sized {
  readonly targetBpw: number;
  readonly rows: PlanRow[];
  readonly totals: PlanTotals;
}

type AtBpw = (bpw: number) => Omit<Sized, "targetBpw">;

/** Ranks for a budget. */
function ranked(
  spec: ModelSpec,
  chosen: ChosenMethod,
  budget: BudgetOptions,
  options: PlanOptions,
  at: AtBpw,
): Sized {
  const targetBpw =
    options.bytes === undefined
      ? (options.bpw ?? DEFAULT_BPW)
      : bpwOfBytes(spec, chosen, budget, options.bytes, at);
  return { targetBpw, ...at(targetBpw) };
}

/** OneBit has no ranks: it costs what it costs, and a budget can only be met or not. */
function oneBitPlan(method: Method, { bpw, bytes }: PlanOptions, made: Omit<Sized, "targetBpw">): Sized {
  const cost = made.totals.compressedBpw;
  if (bpw !== undefined && bpw < cost) {
    throw inputError(
      `${bpw} bits per weight were asked for, but ${method} costs ${roundUp(cost)} on this model, no more and no less; ` +
        `leave the budget out or choose another method.`,
    );
  }
  if (bytes !== undefined && bytes < made.totals.fileBytes) {
    throw tooFewBytes(bytes, made.totals, `${method}'s file of this model`);
  }
  return { targetBpw: bpw ?? cost, ...made };
}

/** What a file says; the budget is what it costs. */
function planOfFile(spec: ModelSpec, file: PlanFile, options: PlanOptions, teacherBytes: number): Plan {
  checkBesideFile(options);
  const { method, init, factoriser, rows } = rowsOfFile(spec, file);
  chosenAllocation(options, method);
  const tableOptions = checkedTables(options, largestScaleBits(rows));
  const tables = planTables(spec, tableOptions);
  const totals = totalsOf(spec, method, rows, tables, teacherBytes);
  return {
    method,
    init,
    factoriser,
    schedule: options.schedule ?? "tuned",
    bitsFormula: options.bitsFormula ?? "honest",
    targetBpw: totals.compressedBpw,
    embedBits: tableOptions.bits,
    embedMethod: tableOptions.method,
    ...tables,
    allocation: { kind: "file" },
    rows,
    totals,
  };
}

function largestScaleBits(rows: readonly PlanRow[]): PlanRow["scaleBits"] {
  return rows.some((row) => row.kind !== "dense" && row.scaleBits !== 8) ? 16 : 8;
}

/** The largest bpw whose file fits. */
function bpwOfBytes(
  spec: ModelSpec,
  { shape }: ChosenMethod,
  budget: BudgetOptions,
  bytes: number,
  at: AtBpw,
): number {
  let low = smallestModelBpw(spec, shape, budget.bitsFormula);
  const smallest = at(low).totals;
  if (smallest.fileBytes > bytes) throw tooFewBytes(bytes, smallest, "the smallest file of this model");
  let high = LARGEST_BPW;
  if (at(high).totals.fileBytes <= bytes) return high;
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = (low + high) / 2;
    if (at(middle).totals.fileBytes <= bytes) low = middle;
    else high = middle;
  }
  return low;
}

function tooFewBytes(bytes: number, totals: PlanTotals, what: string) {
  return inputError(
    `${bytes} bytes were asked for, but ${what} has ${totals.fileBytes} ` +
      `(of them ${totals.embeddingBytes + totals.headBytes} for embedding and head); ` +
      `ask for more or for a smaller embedding (--embed-bits, --embed-method).`,
  );
}
