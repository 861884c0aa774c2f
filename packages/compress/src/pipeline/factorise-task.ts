/** What the factoriser is asked for, from the plan's row of a matrix, the run's recipe and the moments of a linear. */
import { LINEAR_ROLES } from "@subbit/core";
import type { LinearMoments } from "../calibrate/calibrate.js";
import type { Method } from "../choices.js";
import type { FactoriseOptions } from "../factorise/types.js";
import type { Plan, PlanRow, TableRow } from "../plan/plan.js";
import type { Recipe } from "../recipe.js";
import type { RunContext } from "./context.js";

/** Without what cannot cross threads. */
export type FactoriseTask = Omit<FactoriseOptions, "signal" | "onProgress">;

/** The part of a plan's row that says how a matrix is stored; the same for linears and for factored tables. */
type StoredShape = Pick<PlanRow, "rank" | "ranks" | "paths" | "envelope" | "scaleBits">;

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
    ...methodOptions(plan, recipe, row.method),
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

/** Options of a factored embedding or head, every entry of which counts alike. */
export function tableTask(plan: Plan, recipe: Recipe, seed: number, row: TableRow): FactoriseTask {
  return { ...methodOptions(plan, recipe, row.method), ...shapeOptions(row), seed: seed * 1009 };
}

function shapeOptions({ rank, ranks, paths, envelope, scaleBits }: StoredShape): FactoriseTask {
  return { ...(ranks ? { ranks } : { rank }), paths, envelope, scaleBits };
}

/** A matrix of another method than the plan's starts as that method does by itself. */
function methodOptions(plan: Plan, { factorise }: Recipe, own: Method = plan.method): FactoriseTask {
  const { iterations } = factorise;
  return {
    ...(own === plan.method ? { method: plan.factoriser, init: plan.init } : { method: own }),
    schedule: plan.schedule,
    ...(iterations !== undefined && { iterations }),
  };
}
