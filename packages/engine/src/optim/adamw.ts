/**
 * AdamW (Loshchilov and Hutter, 2019) on the host, fused into one pass over the arrays: memory traffic is its cost.
 * Moments are f32; the arithmetic of one element is double precision, so equal inputs give equal bytes anywhere.
 */
import { SubbitError } from "@subbit/core";

export interface AdamWGroup {
  readonly name: string;
  /** Updated in place. */
  readonly values: Float32Array;
  /** Multiplies the step's learning rate. @default 1 */
  readonly rate?: number;
  /** Decoupled weight decay, per unit of learning rate. @default 0 */
  readonly weightDecay?: number;
}

export interface AdamWOptions {
  /** @default 0.9 */
  readonly beta1?: number;
  /** @default 0.999 */
  readonly beta2?: number;
  /** @default 1e-8 */
  readonly eps?: number;
}

/** All there is to resume from, bit for bit, together with the values themselves. */
export interface AdamWState {
  readonly step: number;
  /** By group name: first and second moments. */
  readonly moments: Readonly<Record<string, { readonly m: Float32Array; readonly v: Float32Array }>>;
}

export class AdamW {
  readonly #groups: readonly AdamWGroup[];
  readonly #moments: { m: Float32Array; v: Float32Array }[];
  readonly #options: Required<AdamWOptions>;
  #step = 0;

  constructor(groups: readonly AdamWGroup[], { beta1 = 0.9, beta2 = 0.999, eps = 1e-8 }: AdamWOptions = {}) {
    this.#groups = groups;
    this.#options = { beta1, beta2, eps };
    this.#moments = groups.map(({ values }) => ({
      m: new Float32Array(values.length),
      v: new Float32Array(values.length),
    }));
  }

  /** Steps taken so far. */
  get stepCount(): number {
    return this.#step;
  }

  /**
   * One step: values -= rate * (lr * m^ / (sqrt(v^) + eps) + lr * weightDecay * values), with bias-corrected moments.
   * `grads` holds an array per group name; `gradScale` multiplies it (clipping, mean over micro-batches).
   */
  step(grads: Readonly<Record<string, Float32Array>>, lr: number, gradScale = 1): void {
    this.#step++;
    this.#groups.forEach((group, index) => {
      const grad = grads[group.name];
      if (grad?.length !== group.values.length) {
        throw new SubbitError(
          "internal",
          `AdamW was given no gradient of ${group.values.length} elements for ${group.name}.`,
        );
      }
      const { m, v } = this.#moments[index];
      this.#update(group, grad, m, v, lr, gradScale);
    });
  }

  #update(
    { values, rate = 1, weightDecay = 0 }: AdamWGroup,
    grad: Float32Array,
    m: Float32Array,
    v: Float32Array,
    lr: number,
    gradScale: number,
  ): void {
    const { beta1, beta2, eps } = this.#options;
    const stepSize = (lr * rate) / (1 - beta1 ** this.#step);
    const correction = 1 / Math.sqrt(1 - beta2 ** this.#step);
    const keep = 1 - lr * rate * weightDecay;
    for (let i = 0; i < values.length; i++) {
      const g = grad[i] * gradScale;
      const first = beta1 * m[i] + (1 - beta1) * g;
      const second = beta2 * v[i] + (1 - beta2) * g * g;
      m[i] = first;
      v[i] = second;
      values[i] = keep * values[i] - (stepSize * first) / (Math.sqrt(second) * correction + eps);
    }
  }

  /** The state itself, not a copy: store it before the next step. */
  state(): AdamWState {
    const moments = this.#groups.map(({ name }, index) => [name, this.#moments[index]] as const);
    return { step: this.#step, moments: Object.fromEntries(moments) };
  }

  /** Continues from a stored state; throws `input` when it belongs to other groups. */
  restore(state: AdamWState): void {
    this.#groups.forEach(({ name, values }, index) => {
      const stored = state.moments[name];
      if (stored?.m.length !== values.length || stored.v.length !== values.length) {
        throw new SubbitError(
          "input",
          `The stored optimizer state has no moments of ${values.length} elements for ${name}.`,
        );
      }
      const own = this.#moments[index];
      own.m.set(stored.m);
      own.v.set(stored.v);
    });
    this.#step = state.step;
  }
}
