/**
 * A seeded random source with a visible state, so that a snapshot can carry it: xoshiro128** (Blackman and Vigna),
 * seeded by splitmix32.
 */

/** Four 32-bit words. */
export type RandomState = readonly [number, number, number, number];

export class Random {
  #state: Uint32Array;

  constructor(seed: number | RandomState) {
    this.#state = typeof seed === "number" ? seededState(seed) : Uint32Array.from(seed);
  }

  get state(): RandomState {
    const [a, b, c, d] = this.#state;
    return [a, b, c, d];
  }

  /** Uniform in [0, 2^32). */
  nextUint32(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1). */
  next(): number {
    return this.nextUint32() / 2 ** 32;
  }

  /** Uniform integer in [0, bound); the bias is below bound / 2^32. */
  nextInt(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  /** A uniformly shuffled 0..count-1 (Fisher and Yates). */
  permutation(count: number): Uint32Array {
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.nextInt(i + 1);
      const kept = order[i];
      order[i] = order[j]!;
      order[j] = kept;
    }
    return order;
  }
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

function seededState(seed: number): Uint32Array {
  let x = seed >>> 0;
  return Uint32Array.from({ length: 4 }, () => {
    x = (x + 0x9e3779b9) >>> 0;
    let z = x;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  });
}
