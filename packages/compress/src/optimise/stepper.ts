/** The optimizer of latents that a recipe asks for. */
import type { CompileOptions } from "@subbit/engine";
import type { DistilRecipe } from "../train-recipe.js";
import { flipPlan, FlipSteps } from "./flips.js";
import { LatentSteps } from "./latent-step.js";
import { LATENT_LIMIT, type LatentStepper } from "./latent-stepper.js";
import { MuonSteps } from "./muon-step.js";

/** Whether the gradients of the whole model are gathered before anything moves. */
export function collectsGradients({ clip, accumulate }: DistilRecipe): boolean {
  return clip > 0 || accumulate > 1;
}

/** @param steps of the whole run */
export function latentStepper(recipe: DistilRecipe, steps: number, compile: CompileOptions): LatentStepper {
  const { optimizer, surrogate, latents, weightDecay } = recipe;
  if (optimizer === "flips") return new FlipSteps(flipPlan(steps));
  const options = {
    surrogate,
    ...(latents === "unit" && { limit: LATENT_LIMIT }),
    decays: weightDecay > 0,
    collected: collectsGradients(recipe),
  };
  return optimizer === "muon" ? new MuonSteps(options, compile) : new LatentSteps(options, compile);
}
