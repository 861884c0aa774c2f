/** Copies of the trained values: an exponential moving average of them, and the best ones so far. */

/** Names to arrays, which are shared with a trainer. */
export type Values = ReadonlyMap<string, Float32Array>;

/** The average starts as a plain mean of about this many steps, so that a short run is not held at its start. */
const EARLY = 10;

export class Averages {
  readonly #values: Values;
  readonly #averages: Values;
  readonly #decay: number;

  constructor(values: Values, decay: number) {
    this.#values = values;
    this.#averages = copied(values);
    this.#decay = decay;
  }

  /** Takes in the values after so many steps. */
  update(step: number): void {
    const weight = 1 - Math.min(this.#decay, (1 + step) / (EARLY + step));
    for (const [name, average] of this.#averages) {
      const values = this.#values.get(name)!;
      for (let i = 0; i < average.length; i++) average[i] += weight * (values[i] - average[i]);
    }
  }

  /** Exchanges averages and values; twice leaves everything as it was. */
  swap(): void {
    for (const [name, average] of this.#averages) {
      const values = this.#values.get(name)!;
      const kept = values.slice();
      values.set(average);
      average.set(kept);
    }
  }

  /** The averages by name; they share memory. */
  get arrays(): Values {
    return this.#averages;
  }
}

export function copied(values: Values): Values {
  return new Map([...values].map(([name, array]) => [name, array.slice()]));
}
