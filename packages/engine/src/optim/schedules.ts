/** Learning-rate schedules as plain functions of the step. */

export interface CosineOptions {
  /** Total number of steps. */
  readonly steps: number;
  /** Fraction of the steps with a linear warm-up. @default 0.05 */
  readonly warmup?: number;
  /** Fraction of the peak rate at the end. @default 0 */
  readonly floor?: number;
}

/** Rate as a fraction of the peak at step 0, 1, ... steps - 1. */
export type Schedule = (step: number) => number;

/** Linear warm-up, then half a cosine down to `floor`. */
export function cosineSchedule({ steps, warmup = 0.05, floor = 0 }: CosineOptions): Schedule {
  const warmupSteps = Math.ceil(steps * warmup);
  return (step) => {
    if (step < warmupSteps) return (step + 1) / warmupSteps;
    const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
    return floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * progress));
  };
}

/** Linear warm-up, then the peak to the end. */
export function constantSchedule({ steps, warmup = 0 }: Pick<CosineOptions, "steps" | "warmup">): Schedule {
  const warmupSteps = Math.ceil(steps * warmup);
  return (step) => (step < warmupSteps ? (step + 1) / warmupSteps : 1);
}
