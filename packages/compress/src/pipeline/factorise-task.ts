/** What the factoriser is asked for, from the plan's row of a matrix, the run's recipe and the moments of a linear. */
import { LINEAR_ROLES } from "@subbit/core";
import type { LinearMoments } from "../calibrate/calibrate.js";
import type { FactoriseOptions, Schedule } from "../factorise/types.js";
import type { Plan, PlanRow } from "../plan/plan.js";
import type { Recipe } from "../recipe.js";
import type { RunContext } from "./context.js";

/** Without what cannot cross threads. */
export type FactoriseTask = Omit<FactoriseOptions, "signal" | "onProgress">;

/** The part of a plan's row that says how a matrix is stored; the same for linears and for factored tables. */
export type StoredShape = Pick<
  PlanRow,
  "rows" | "cols" | "rank" | "ranks" | "paths" | "envelope" | "midScale" | "scaleBits"
>;

/** Options of one linear. `inputGram` [cols, cols], where errors are measured in the whole metric of the inputs. */
export function linearTask(
  { plan, recipe, seed }: Pick<RunContext, "plan" | "recipe" | "seed">,
  row: PlanRow,
  moments: LinearMoments,
  inputGram?: Float32Array,
): FactoriseTask {
  const { layer, role } = row.site;
  const { outputImportance, shrinkage } = recipe.factorise;
  return {
    ...methodOptions(plan, recipe),
    ...(row.kind === "onebit" ? { scaleBits: row.scaleBits } : shapeOptions(row)),
    seed: seed * 1009 + layer * LINEAR_ROLES.length + LINEAR_ROLES.indexOf(role),
    importance: {
      input: moments.inputSquares,
      ...(inputGram && { inputGram }),
      ...(outputImportance && { output: moments.outputGradSquares }),
      shrinkage,
    },
  };
}

/** Ranks, paths, envelope and width of the scales. */
export function shapeOptions({ rank, ranks, paths, envelope, scaleBits }: StoredShape): FactoriseTask {
  return { ...(ranks ? { ranks } : { rank }), paths, envelope, scaleBits };
}

/** Schedule of the run's method. */
export function scheduleOf(plan: Plan): Schedule {
  return plan.schedule ?? "tuned";
}

function methodOptions(plan: Plan, { factorise }: Recipe): FactoriseTask {
  const { iterations, refineSteps } = factorise;
  return {
    method: plan.factoriser,
    init: plan.init,
    schedule: scheduleOf(plan),
    ...(iterations !== undefined && { iterations }),
    ...(refineSteps !== undefined && { refineSteps }),
  };
}
