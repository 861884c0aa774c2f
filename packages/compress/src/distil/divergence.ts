/** Says when a loss no longer comes down but has run away. */

/** Steps that the running mean remembers, about. */
const MEMORY = 16;
/** So many times the best running mean is too much ... */
const TOO_MUCH = 3;
/** ... when it lasts for so many steps. */
const PATIENCE = 50;
/** Means below this share of the first one count as that share: close to zero a ratio says nothing. */
const NOISE_SHARE = 0.05;

export class DivergenceWatch {
  #mean: number | undefined;
  #first = 0;
  #best = Infinity;
  #above = 0;

  /** Takes the loss of the next step; a clause on what is wrong, or undefined. */
  see(loss: number): string | undefined {
    if (!Number.isFinite(loss)) return `its loss is ${loss}`;
    this.#mean = this.#mean === undefined ? loss : this.#mean + (loss - this.#mean) / MEMORY;
    this.#first ||= this.#mean;
    this.#best = Math.min(this.#best, this.#mean);
    const limit = TOO_MUCH * Math.max(this.#best, NOISE_SHARE * this.#first);
    this.#above = this.#mean > limit ? this.#above + 1 : 0;
    if (this.#above < PATIENCE) return undefined;
    return `its mean loss has been above ${TOO_MUCH} times its best of ${this.#best.toPrecision(3)} for ${PATIENCE} steps`;
  }
}
