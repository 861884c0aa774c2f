/** Which windows a training step sees. */
import { Random } from "../random.js";

/** Windows of step `step`: shuffled anew in every pass by (seed, pass), so no state has to be kept. */
export function stepWindows(step: number, batch: number, count: number, seed: number): number[] {
  const chosen: number[] = [];
  let pass = -1;
  let order: Uint32Array = new Uint32Array();
  for (let at = step * batch; at < (step + 1) * batch; at++) {
    const wanted = Math.floor(at / count);
    if (wanted !== pass) {
      pass = wanted;
      order = new Random((seed * 1_000_003 + pass) >>> 0).permutation(count);
    }
    chosen.push(order[at % count]);
  }
  return chosen;
}
