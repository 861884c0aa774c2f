/**
 * Whole-model distillation: the divergence from the teacher's next-token distribution, and where the recipe says so the
 * distance of hidden states, is lowered in steps over batches of windows. Scales and norms train where their rates are
 * above 0, signs by straight-through latents or by flips (`DistilRecipe`).
 * Sources: LittleBit and OneBit (KL and hidden states), DBF (flips), NanoQuant (scales only); docs/recipes.md says how.
 */
import { SubbitError, throwIfAborted } from "@subbit/core";
import { Course } from "./course.js";
import { ModelTrainer } from "./model-trainer.js";
import type { DistilOptions, DistilResult, DistilTask } from "./types.js";

/**
 * Trains the student in place. Throws `interrupted`, after a snapshot, when the signal fires, `input` when the loss is
 * no longer finite or has run away.
 */
export async function distil(task: DistilTask, options: DistilOptions = {}): Promise<DistilResult> {
  const {
    signal,
    from,
    onStep,
    snapshot,
    snapshotSeconds = 60,
    evaluateEvery,
    evaluate,
    ...compile
  } = options;
  const trainer = await ModelTrainer.create(task, compile);
  try {
    const course = new Course(task, trainer, evaluate && { every: evaluateEvery ?? task.steps, evaluate });
    await course.begin(from);
    let [saved, savedStep] = [performance.now(), from?.step];
    const save = async (): Promise<void> => {
      await snapshot?.(course.snapshot());
      [saved, savedStep] = [performance.now(), course.step];
    };
    while (course.step < task.steps) {
      if (signal?.aborted && snapshot) await save();
      throwIfAborted(signal);
      const started = performance.now();
      const { loss, gradientNorm, rate } = await trainer.step(course.step);
      const wrong = course.took(loss.total);
      if (wrong !== undefined) throw divergence(course.step, wrong, snapshot ? savedStep : undefined);
      onStep?.({
        step: course.step,
        steps: task.steps,
        tokens: course.step * tokensOfStep(task),
        loss: loss.total,
        logitsLoss: loss.logits,
        ...(loss.hidden !== undefined && { hiddenLoss: loss.hidden }),
        ...(gradientNorm !== undefined && { gradientNorm }),
        rate,
        seconds: (performance.now() - started) / 1000,
      });
      try {
        await course.evaluateIfDue();
      } catch (error) {
        // What was trained is kept; the evaluation is made again.
        if (signal?.aborted) await save();
        throw error;
      }
      if (course.step < task.steps && performance.now() - saved > snapshotSeconds * 1000) await save();
    }
    return await course.end();
  } finally {
    await trainer.dispose();
  }
}

/** Tokens that a step of a task sees. */
export function tokensOfStep({ recipe, windows }: Pick<DistilTask, "recipe" | "windows">): number {
  return Math.min(recipe.batch, windows.count) * recipe.accumulate * windows.seqlen;
}

function divergence(step: number, wrong: string, saved: number | undefined): SubbitError {
  const last = saved === undefined ? "there is no snapshot of it" : `the last snapshot is of step ${saved}`;
  return new SubbitError(
    "input",
    `The distillation diverged at step ${step}: ${wrong}; ${last}; ask for smaller rates.`,
  );
}
