/** All that a run of distillation has beside its trainer: losses, averages, evaluations and the best state. */
import { Averages, copied, type Values } from "./averages.js";
import { DivergenceWatch } from "./divergence.js";
import { type ModelTrainer, setFrom } from "./model-trainer.js";
import type { DistilOptions, DistilResult, DistilSnapshot, DistilTask, Evaluation } from "./types.js";

export interface Judge {
  /** Steps between two evaluations. */
  readonly every: number;
  readonly evaluate: NonNullable<DistilOptions["evaluate"]>;
}

export class Course {
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
    if (from) this.#restore(from);
    else this.#lossBefore = await this.#trainer.sampleLoss();
    await this.evaluateIfDue();
  }

  #restore(from: DistilSnapshot): void {
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
    if (!this.#judge || this.#evaluations.at(-1)?.step === this.step) return;
    if (this.step % this.#judge.every === 0 || this.step === this.#task.steps)
      await this.#evaluate(this.#judge);
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

  async #evaluate({ evaluate }: Judge): Promise<void> {
    this.#averages?.swap();
    this.#trainer.refresh();
    try {
      const value = await evaluate(this.#task.student, this.step);
      this.#evaluations.push({ step: this.step, value });
      if (this.#bestStep === this.step) this.#best = copied(this.#trainer.values());
    } finally {
      this.#averages?.swap();
      this.#trainer.refresh();
    }
  }
}
