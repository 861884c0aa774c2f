/** Learning-rate schedule: linear warm-up, then a half cosine to zero. */

/** Factor of the peak rate at `step` (0-based) of `total`. */
export function cosineSchedule(step: number, total: number, warmup: number): number {
  const rising = Math.max(1, Math.round(total * warmup));
  if (step < rising) return (step + 1) / rising;
  const through = (step - rising + 1) / Math.max(1, total - rising + 1);
  return 0.5 * (1 + Math.cos(Math.PI * through));
}
