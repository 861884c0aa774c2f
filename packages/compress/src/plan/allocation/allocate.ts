/**
 * Ranks (and, where asked for, paths and envelopes) of all linears for the lowest predicted loss under the budget of
 * the uniform plan. Per linear: damped sensitivity times the squared error that its curve predicts; honest bits.
 */
import { bitsOfRank, type ModelSpec, SubbitError } from "@subbit/core";
import type { PlanOptions } from "../../options.js";
import { checkedInit, largestRank, type MethodShape } from "../methods.js";
import type { ErrorCurve, Plan, PlanRow } from "../plan.js";
import { factoredRow, rowBits } from "../rows.js";
import { totalsOf } from "../totals.js";
import { type Candidate, choose } from "./choose.js";
import { fitCurve } from "./error-curve.js";
import { dampedFactors, LOSS_DAMPING } from "./sensitivity.js";

/** Ranks lie between these multiples of the uniform one: beyond them curves are extrapolated and training is not. */
const SMALLEST_FACTOR = 1 / 4;
const LARGEST_FACTOR = 4;
/** Kernels take ranks by eights; where ranks are large enough for that to cost no resolution, they are multiples of it. */
const RANK_STEP = 8;
const SMALLEST_STEPPED_RANK = 64;
/** Corrections of a byte budget for a header that grew with the digits of the ranks. */
const HEADER_CORRECTIONS = 8;

/** What was measured of a linear. */
export interface MeasuredLinear {
  readonly name: string;
  readonly sensitivity: number;
  /** The first is of the plan's own form. */
  readonly curves: readonly ErrorCurve[];
}

/** A form that a linear may take, with the rank that the uniform budget buys in it. */
export interface FormChoice {
  readonly shape: MethodShape;
  readonly uniformRank: number;
}

interface Chosen {
  readonly shape: MethodShape;
  readonly rank: number;
  readonly squaredError: number;
}

export interface AllocationInput {
  readonly spec: ModelSpec;
  /** The uniform plan. */
  readonly plan: Plan;
  readonly options: PlanOptions;
  /** One a compressed linear, in the order of the plan's rows. */
  readonly measured: readonly MeasuredLinear[];
  /** Forms of each of them, in the order of its curves. */
  readonly forms: readonly (readonly FormChoice[])[];
  /** @default LOSS_DAMPING */
  readonly damping?: number;
}

/** The plan with ranks by predicted loss; it never costs more than the budget of the uniform one. */
export function allocate({
  spec,
  plan,
  options,
  measured,
  forms,
  damping = LOSS_DAMPING,
}: AllocationInput): Plan {
  const compressed = plan.rows.filter((row) => row.kind === "factored");
  if (compressed.length !== measured.length) {
    throw new SubbitError("internal", "The linears measured are not those of the plan.");
  }
  const factors = dampedFactors(
    measured.map(({ sensitivity }, i) => ({ sensitivity, weights: compressed[i].rows * compressed[i].cols })),
    damping,
  );
  const fitted = measured.map(({ curves }) => curves.map((curve) => fitCurve(curve)));
  const items = compressed.map((row, i) =>
    forms[i].flatMap((form, f) => candidatesOf(row, form, fitted[i][f], factors[i], plan)),
  );
  const uniformErrors = compressed.map((row, i) => fitted[i][0](row.rank));
  const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
  const uniformBits = total(compressed.map(rowBits));
  let budget = budgetOf(plan, options, uniformBits);
  for (let correction = 0; ; correction++) {
    const chosen = choose(items, budget);
    const byName = new Map(compressed.map((row, i) => [row.name, chosen[i].what]));
    const rows = plan.rows.map((row) => {
      const what = byName.get(row.name);
      if (what === undefined) return row;
      return factoredRow(spec, row.site, what.shape, Array<number>(what.shape.paths).fill(what.rank));
    });
    const tables = { embedding: plan.embedding, ...(plan.head && { head: plan.head }) };
    const totals = totalsOf(spec, plan.method, rows, tables, plan.totals.teacherBytes);
    const excess = options.bytes === undefined ? 0 : totals.fileBytes - options.bytes;
    if (excess > 0 && correction < HEADER_CORRECTIONS) {
      budget -= 8 * excess;
      continue;
    }
    const errors = chosen.map(({ what }) => what.squaredError);
    const objective = total(errors.map((error, i) => factors[i] * error));
    const objectiveUniform = total(uniformErrors.map((error, i) => factors[i] * error));
    // Bounds and steps may leave nothing better than what there was.
    if (excess > 0 || !(objective < objectiveUniform)) return uniformly(plan);
    return {
      ...plan,
      rows,
      totals,
      allocation: {
        kind: "loss",
        damping,
        objectiveUniform,
        objective,
        predictedUniform: total(uniformErrors.map((error, i) => measured[i].sensitivity * error)),
        predicted: total(errors.map((error, i) => measured[i].sensitivity * error)),
        linears: describeLinears(errors),
      },
    };
  }

  function describeLinears(errors: readonly number[]) {
    return measured.map((linear, i) => ({
      ...linear,
      uniformBpw: compressed[i].bpw,
      squaredErrorUniform: uniformErrors[i],
      squaredError: errors[i],
    }));
  }

  function uniformly(uniform: Plan): Plan {
    const objective = total(uniformErrors.map((error, i) => factors[i] * error));
    const predicted = total(uniformErrors.map((error, i) => measured[i].sensitivity * error));
    const figures = { objectiveUniform: objective, objective, predictedUniform: predicted, predicted };
    return {
      ...uniform,
      allocation: { kind: "loss", damping, ...figures, linears: describeLinears(uniformErrors) },
    };
  }
}

/** Bits that the compressed linears may have. */
function budgetOf(plan: Plan, options: PlanOptions, uniformBits: number): number {
  if (options.bytes !== undefined) return uniformBits + 8 * (options.bytes - plan.totals.fileBytes);
  if (plan.bitsFormula === "paper") return uniformBits;
  return plan.targetBpw * plan.totals.compressedWeights;
}

function candidatesOf(
  row: PlanRow,
  { shape, uniformRank }: FormChoice,
  squaredError: (rank: number) => number,
  factor: number,
  plan: Plan,
): Candidate<Chosen>[] {
  const { rows, cols } = row;
  return candidateRanks(uniformRank, largestRankOf(plan, shape, rows, cols)).map((rank) => {
    const error = squaredError(rank);
    const { total } = bitsOfRank({ rows, cols, rank, ...shape });
    return { bits: total, loss: factor * error, what: { shape, rank, squaredError: error } };
  });
}

/** The largest rank that the form's method and start can use. */
export function largestRankOf(plan: Plan, shape: MethodShape, rows: number, cols: number): number {
  const init = checkedInit(shape.method, shape.method === plan.method ? plan.init : undefined);
  return largestRank(shape.method, init, rows, cols);
}

function candidateRanks(uniformRank: number, largest: number): number[] {
  const step = uniformRank >= SMALLEST_STEPPED_RANK ? RANK_STEP : 1;
  const first = Math.max(step, Math.ceil((uniformRank * SMALLEST_FACTOR) / step) * step);
  const last = Math.min(largest, uniformRank * LARGEST_FACTOR);
  const ranks: number[] = [];
  for (let rank = first; rank <= last; rank += step) ranks.push(rank);
  return ranks.length > 0 ? ranks : [uniformRank];
}
