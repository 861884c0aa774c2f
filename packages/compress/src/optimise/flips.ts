/**
 * Signs that move by flipping, without a surrogate (DBF's fine-tuning, after PV-Tuning): for some steps a random tenth
 * of the linears is exposed, evidence against each of its signs is gathered, and at every step the few signs with the
 * most of it flip.
 *
 * Turning sign S changes the loss by about -2 S dL/dS, so S dL/dS, divided by its usual size as Adam does, speaks for a
 * flip where it is positive; the evidence is the sum of that since the linear was exposed or the sign last flipped.
 * Constants are those of the official run of some 10,500 steps. A shorter run stretches what it does in a step, so that
 * as many signs flip, and scales with rates of that run may travel as far, over the whole of it.
 */
import { LINEAR_ROLES, type LinearRole } from "@subbit/core";
import { Random } from "../random.js";
import type { LatentArrays, LatentStepper, StepScalars } from "./latent-stepper.js";
import { mix } from "./moments.js";

/** 1.38e9 tokens in batches of 16 sequences of 8,192. */
const OFFICIAL_STEPS = 10_500;
/** A run is not stretched further than this. */
const LARGEST_STRETCH = 100;
/** Steps between two draws of what is exposed, and the fewest of a short run. */
const INTERVAL = 50;
const SHORTEST_INTERVAL = 12;
/** Draws that a short run has room for. */
const DRAWS = 20;
/** Steps of gathering before the first flips. */
const SETTLING = 5;
/** Share of the linears that is exposed. */
const EXPOSED = 0.1;
/** Share of the exposed signs that flips at a step of the official run. */
const SHARE = 1e-5;
/** Stands for a zero, whose sign is +1, once it is flipped. */
const FLIPPED_ZERO = -1e-6;

export interface FlipPlan {
  /** How much more a step does than one of the official run. */
  readonly stretch: number;
  /** Steps for which a linear is exposed. */
  readonly interval: number;
  /** Share of the exposed signs that flips at a step. */
  readonly share: number;
}

/** What a run of so many steps does in each. */
export function flipPlan(steps: number): FlipPlan {
  const stretch = Math.min(LARGEST_STRETCH, Math.max(1, OFFICIAL_STEPS / steps));
  const interval = Math.max(SHORTEST_INTERVAL, Math.min(INTERVAL, Math.ceil(steps / DRAWS)));
  return { stretch, interval, share: SHARE * stretch };
}

/**
 * The linear of a block that is exposed in a draw, if any. At most one a block, so that no more than eight different
 * backward programs are needed; a tenth of all on average.
 */
export function exposedRole(seed: number, draw: number, layer: number): LinearRole | undefined {
  const random = new Random(mix(mix(seed, draw), layer));
  if (random.next() >= EXPOSED * LINEAR_ROLES.length) return undefined;
  return LINEAR_ROLES[random.nextInt(LINEAR_ROLES.length)];
}

/** Its moments are the evidence and the second moment of the gradient; both start anew when a linear is exposed. */
export class FlipSteps implements LatentStepper {
  readonly moments = 2;
  readonly #share: number;

  constructor({ share }: Pick<FlipPlan, "share">) {
    this.#share = share;
  }

  step(arrays: LatentArrays, gradient: Float32Array, scalars: StepScalars): Promise<void> {
    const {
      signs,
      moments: [evidence, second],
      salt,
    } = arrays;
    const { beta2, time, epsilon, gradientScale } = scalars;
    const correction = 1 / (1 - beta2 ** time);
    for (let i = 0; i < signs.length; i++) {
      const g = gradient[i] * gradientScale;
      const v = (second[i] = beta2 * second[i] + (1 - beta2) * g * g);
      evidence[i] += (signs[i] * g) / (Math.sqrt(v * correction) + epsilon);
    }
    // A share of less than one sign is one with that chance.
    const chance = mix(time, salt) / 2 ** 32;
    if (time > SETTLING) flipMost(arrays, Math.floor(this.#share * signs.length + chance));
    return Promise.resolve();
  }

  dispose(): Promise<void> {
    return Promise.resolve();
  }
}

/** Flips the `count` signs with the most evidence against them, as far as there is any. */
function flipMost({ latents, signs, moments: [evidence] }: LatentArrays, count: number): void {
  if (count === 0) return;
  const least = Math.max(
    Number.MIN_VALUE,
    evidence.slice().sort()[evidence.length - Math.min(count, evidence.length)],
  );
  let left = count;
  for (let i = 0; i < signs.length && left > 0; i++) {
    if (!(evidence[i] >= least)) continue;
    signs[i] = -signs[i];
    latents[i] = latents[i] === 0 ? FLIPPED_ZERO : -latents[i];
    evidence[i] = 0;
    left--;
  }
}
