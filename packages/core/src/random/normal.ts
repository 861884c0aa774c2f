/** Uniform and standard normal variates from Philox, by position in a stream. */
import { philox4x32 } from "./philox.js";

/** Which sequence of random numbers: streams of one seed are independent of one another. */
export interface RandomStream {
  /** An integer; its low 53 bits count. */
  readonly seed: number;
  /** A 32-bit integer. @default 0 */
  readonly stream?: number;
}

/** [count] words, uniform in [0, 2^32). */
export function uniformWords(count: number, { seed, stream = 0 }: RandomStream): Uint32Array {
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const;
  const words = new Uint32Array(count);
  for (let at = 0; at < count; at += 4) {
    const block = at / 4;
    const four = philox4x32([block >>> 0, Math.floor(block / 2 ** 32), stream >>> 0, 0], key);
    for (let i = 0; i < 4 && at + i < count; i++) words[at + i] = four[i]!;
  }
  return words;
}

/** [count] standard normal variates (Box and Muller, 1958): words 2i and 2i + 1 give variates 2i and 2i + 1. */
export function normalVariates(count: number, options: RandomStream): Float32Array {
  const words = uniformWords(count + (count & 1), options);
  // In the words' own memory, which a pair of them is read from before it is written: matrices may be gigabytes.
  const variates = new Float32Array(words.buffer);
  for (let i = 0; i < count; i += 2) {
    // The half keeps the logarithm's argument inside (0, 1).
    const radius = Math.sqrt(-2 * Math.log((words[i] + 0.5) / 2 ** 32));
    const angle = (2 * Math.PI * words[i + 1]) / 2 ** 32;
    variates[i] = radius * Math.cos(angle);
    variates[i + 1] = radius * Math.sin(angle);
  }
  return variates.length === count ? variates : variates.slice(0, count);
}
