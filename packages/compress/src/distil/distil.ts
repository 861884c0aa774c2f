/**
 * Whole-model distillation: the divergence from the teacher's next-token distribution, and where the recipe says so the
 * distance of hidden states, is lowered in steps over batches of windows. Scales and norms train where their rates are
 * above 0, signs by straight-through latents or by flips (`DistilRecipe`).
 * Sources: LittleBit and OneBit (KL and hidden states), DBF (flips), NanoQuant (scales only); docs/recipes.md says how.
 */
import { SubbitError, throwIfAborted } from "@subbit/core";
import { Averages, copied, type Values } from "./averages.js";
import { DivergenceWatch } from "./divergence.js";
import { ModelTrainer, setFrom } from "./model-trainer.js";
import type { DistilOptions, DistilResult, DistilSnapshot, DistilTask, Evaluation } from "./types.js";

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
      await course.evaluateIfDue();
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

interface Judge {
  /** Steps between two evaluations. */
  readonly every: number;
  readonly evaluate: NonNullable<DistilOptions["evaluate"]>;
}

/** All that a run has beside its trainer: losses, averages, evaluations and the best state. */
class Course {
  readonly #task: DistilTask;
  readonly #trainer: ModelTrainer;
  readonly #judge: Judge | undefined;
  readonly #averages: Averages | undefined;
  readonly #watch = new DivergenceWatch();
  readonly #losses: number[] = [];
  readonly #evaluations: Evaluation[] = [];
  #best: Values | undefined;
  #lossBefore = NaN;

  constructor(task: DistilTask, trainer: ModelTrainer, judge: Judge | undefined) {
    this.#task = task;
    this.#trainer = trainer;
    this.#judge = judge;
    const { average } = task.recipe;
    if (average > 0) this.#averages = new Averages(trainer.values(), average);
  }

  /** Steps done. */
  get step(): number {
    return this.#losses.length;
  }

  async begin(from: DistilSnapshot | undefined): Promise<void> {
    if (!from) {
      this.#lossBefore = await this.#trainer.sampleLoss();
      await this.#evaluate();
      return;
    }
    this.#trainer.restore(from);
    this.#lossBefore = from.lossBefore;
    this.#evaluations.push(...from.evaluations);
    for (const loss of from.losses) this.#note(loss);
    for (const [name, array] of this.#averages?.arrays ?? []) setFrom(array, from.arrays, `average.${name}`);
    if (this.#bestStep === undefined) return;
    const best = copied(this.#trainer.values());
    for (const [name, array] of best) setFrom(array, from.arrays, `best.${name}`);
    this.#best = best;
  }

  /** Takes the loss of a step that was made; says what is wrong with it, if anything. */
  took(loss: number): string | undefined {
    const wrong = this.#note(loss);
    this.#averages?.update(this.step);
    return wrong;
  }

  async evaluateIfDue(): Promise<void> {
    const { steps } = this.#task;
    if (this.#judge && (this.step % this.#judge.every === 0 || this.step === steps)) await this.#evaluate();
  }

  snapshot(): DistilSnapshot {
    const arrays = this.#trainer.arrays();
    for (const [name, array] of this.#averages?.arrays ?? []) arrays.set(`average.${name}`, array);
    for (const [name, array] of this.#best ?? []) arrays.set(`best.${name}`, array);
    return {
      arrays,
      step: this.step,
      losses: this.#losses,
      lossBefore: this.#lossBefore,
      evaluations: this.#evaluations,
    };
  }

  /** Leaves the student as it is to be kept. */
  async end(): Promise<DistilResult> {
    this.#averages?.swap();
    const values = this.#trainer.values();
    for (const [name, array] of this.#best ?? []) values.get(name)!.set(array);
    this.#trainer.refresh();
    const bestStep = this.#bestStep;
    return {
      losses: this.#losses,
      lossBefore: this.#lossBefore,
      lossAfter: await this.#trainer.sampleLoss(),
      evaluations: this.#evaluations,
      ...(bestStep !== undefined && { bestStep }),
    };
  }

  /** Of the first evaluation that no other is better than. */
  get #bestStep(): number | undefined {
    let best: Evaluation | undefined;
    for (const evaluation of this.#evaluations) {
      if (best === undefined || Number.isNaN(best.value) || evaluation.value < best.value) best = evaluation;
    }
    return best?.step;
  }

  #note(loss: number): string | undefined {
    this.#losses.push(loss);
    return this.#watch.see(loss);
  }

  async #evaluate(): Promise<void> {
    if (!this.#judge) return;
    this.#averages?.swap();
    this.#trainer.refresh();
    const value = await this.#judge.evaluate(this.#task.student, this.step);
    this.#evaluations.push({ step: this.step, value });
    if (this.#bestStep === this.step) this.#best = copied(this.#trainer.values());
    this.#averages?.swap();
    this.#trainer.refresh();
  }
}
