/** What a run says about itself: the recipe in the manifest, and warnings. */
import type { CompressOptions } from "../options.js";
import type { RunContext } from "../pipeline/context.js";
import { DEFAULT_SAMPLES } from "./open-run.js";

/** What stands in the manifest as the recipe: enough to make the model again. */
export function describeRun(
  options: CompressOptions,
  context: RunContext,
  windowsHash: string,
): Record<string, unknown> {
  const { plan, tune, windows, seed, recipe, compile } = context;
  const { allocation } = plan;
  return {
    method: plan.method,
    init: plan.init,
    schedule: plan.schedule,
    bpw: plan.targetBpw,
    bitsFormula: plan.bitsFormula,
    ranks:
      allocation.kind === "loss"
        ? { by: "loss", damping: allocation.damping }
        : { by: allocation.kind === "file" ? "plan file" : "bits" },
    ...(plan.embedMethod === "factored"
      ? { embedMethod: plan.embedMethod, embedBpw: plan.embedding.bpw }
      : { embedBits: plan.embedBits }),
    tune,
    ...(options.trainTokens !== undefined && { trainTokens: options.trainTokens }),
    calibration: {
      text: options.calibration.name,
      windows: windows.count,
      seqlen: windows.seqlen,
      sha256: windowsHash,
    },
    seed,
    threads: compile.threads,
    hyperparameters: recipe,
  };
}

export function warningsOf(
  options: CompressOptions,
  { windows, recipe, plan }: Pick<RunContext, "windows" | "recipe" | "plan">,
): string[] {
  const warnings: string[] = [];
  const asked = options.samples ?? DEFAULT_SAMPLES;
  if (windows.count < asked) {
    warnings.push(
      `${options.calibration.name} fills only ${windows.count} windows of ${windows.seqlen} tokens, ${asked} were asked for.`,
    );
  }
  const leftOut = recipe.factorise.gram === "diagonal" && options.recipe?.factorise?.gram === undefined;
  if (leftOut && plan.schedule === "tuned") {
    warnings.push(
      "The full metric of the inputs does not fit into the memory that may be used, so their mean squares stand for it; " +
        "raise --memory-limit for smaller errors, or say --gram diagonal.",
    );
  }
  return warnings;
}
