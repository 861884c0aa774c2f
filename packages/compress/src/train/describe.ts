/** What a training says about itself: the recipe in the manifest, and warnings. */
import { basename } from "node:path";
import type { TrainContext } from "./context.js";
import type { TrainOptions } from "./options.js";
import type { TrainSummary } from "./train-step.js";

/** What stands in the manifest as the recipe: enough to make the model again from its parent. */
export function describeTraining(options: TrainOptions, context: TrainContext): Record<string, unknown> {
  const { student, recipeName, dataNames = [], evaluation } = options;
  const { windows, steps, tokensPerStep, seed, recipe, compile, studentSha256, windowsSha256 } = context;
  return {
    recipe: recipeName,
    tokens: steps * tokensPerStep,
    steps,
    data: {
      texts: [...dataNames],
      windows: windows.count,
      seqlen: windows.seqlen,
      sha256: windowsSha256,
    },
    ...(evaluation &&
      context.evaluation && {
        evaluation: {
          text: evaluation.name,
          windows: context.evaluation.count,
          seqlen: context.evaluation.seqlen,
          every: context.evaluateEvery,
        },
      }),
    seed,
    threads: compile.threads,
    hyperparameters: { ...recipe, latentStart: context.latentStart },
    parent: {
      name: basename(student.checkpoint.name),
      sha256: studentSha256,
      recipe: student.manifest?.recipe ?? {},
    },
  };
}

export function warningsOf(
  { evaluation }: TrainOptions,
  { steps, windows, tokensPerStep }: TrainContext,
  { keptStep }: TrainSummary,
): string[] {
  const warnings: string[] = [];
  if (keptStep === 0) {
    warnings.push(
      evaluation === undefined
        ? "The divergence of the training windows was not lowered, so the student was kept as it was; train longer or at smaller rates."
        : "No evaluation was better than the one before the first step, so the student was kept as it was; train longer or at smaller rates.",
    );
  }
  const passes = (steps * tokensPerStep) / (windows.count * windows.seqlen);
  if (passes > MANY_PASSES) {
    warnings.push(
      `Every window was seen ${Math.round(passes)} times; more text makes a better model than more passes.`,
    );
  }
  return warnings;
}

/** Passes from which on more of the same text mostly teaches the text itself. */
const MANY_PASSES = 20;
