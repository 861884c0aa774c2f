/**
 * Training windows from several texts: each text is cut into windows, gets a share of all windows by its weight, and
 * the windows are shuffled together. The same seed gives the same windows in the same order.
 */
import { inputError, SubbitError } from "@subbit/core";
import type { Windows } from "../calibrate/windows.js";
import type { TokenText } from "../options.js";
import { Random } from "../random.js";

export interface MixPart extends TokenText {
  /** Share of the windows relative to the other parts'. @default every part's windows once, or 1 where another has a weight */
  readonly weight?: number | undefined;
}

export interface MixOptions {
  /** Tokens of a window. */
  readonly seqlen: number;
  /** Tokens wanted. @default as many as the whole windows of all parts hold */
  readonly tokens?: number | undefined;
  readonly seed: number;
}

export interface MixedPart {
  readonly name: string;
  /** Whole windows that the text holds. */
  readonly available: number;
  /** Windows of the mix that come from it; in their order every window comes once before any comes again. */
  readonly windows: number;
}

export interface MixedWindows extends Windows {
  readonly parts: readonly MixedPart[];
}

/** Ids of a mix (1 GiB); longer trainings pass over the mix again. */
export const MAX_MIX_TOKENS = 2 ** 28;

/**
 * Throws `usage` where nothing is asked for or weights make no sense, `input` for a text that does not fill one window.
 */
export function mixWindows(parts: readonly MixPart[], options: MixOptions): MixedWindows {
  const { seqlen, seed } = options;
  const available = parts.map((part) => windowsIn(part, seqlen));
  const whole = available.reduce((sum, count) => sum + count, 0);
  const wanted = options.tokens === undefined ? whole : Math.floor(options.tokens / seqlen);
  if (parts.length === 0 || wanted < 1) {
    throw new SubbitError(
      "usage",
      parts.length === 0
        ? "Training windows were asked for, but there is no text to take them from; give at least one."
        : `${options.tokens} training tokens were asked for, but one window has ${seqlen}; ask for more or give a smaller --seqlen.`,
    );
  }
  const count = Math.min(wanted, Math.max(1, Math.floor(MAX_MIX_TOKENS / seqlen)));
  const shares = apportion(weightsOf(parts, available), count);
  const ids = new Int32Array(count * seqlen);
  const places = new Random(seed >>> 0).permutation(count);
  let taken = 0;
  for (const [p, part] of parts.entries()) {
    // Ascending, so that a text's passes follow one another in the mix.
    const own = places.slice(taken, taken + shares[p]).sort();
    taken += shares[p];
    let use = 0;
    for (const window of windowOrder(available[p], shares[p], seed, p)) {
      ids.set(part.ids.subarray(window * seqlen, (window + 1) * seqlen), own[use++] * seqlen);
    }
  }
  const mixed = parts.map(({ name }, p) => ({ name, available: available[p], windows: shares[p] }));
  return { ids, count, seqlen, parts: mixed };
}

function windowsIn({ ids, name }: MixPart, seqlen: number): number {
  const count = Math.floor(ids.length / seqlen);
  if (count > 0) return count;
  throw inputError(
    `A training window has ${seqlen} tokens, but ${name} holds only ${ids.length}; give more text or a smaller --seqlen.`,
  );
}

function weightsOf(parts: readonly MixPart[], available: readonly number[]): readonly number[] {
  if (parts.every(({ weight }) => weight === undefined)) return available;
  return parts.map(({ name, weight = 1 }) => {
    if (weight > 0 && weight < Infinity) return weight;
    throw new SubbitError("usage", `${name} was given the weight ${weight}; give a number above 0.`);
  });
}

/** Whole numbers in proportion to `weights` that add up to `count`: each within 1 of its share (largest remainders first). */
function apportion(weights: readonly number[], count: number): number[] {
  // Scaled first, so that no sum of finite weights overflows.
  const largest = weights.reduce((most, weight) => Math.max(most, weight), 0);
  const total = weights.reduce((sum, weight) => sum + weight / largest, 0);
  const exact = weights.map((weight) => (weight / largest / total) * count);
  const shares = exact.map(Math.floor);
  const left = count - shares.reduce((sum, share) => sum + share, 0);
  const byRemainder = [...exact.keys()].sort(
    (a, b) => exact[b] - shares[b] - (exact[a] - shares[a]) || a - b,
  );
  for (const p of byRemainder.slice(0, left)) shares[p]++;
  return shares;
}

/** `count` of a text's windows, shuffled anew in every pass. */
function* windowOrder(available: number, count: number, seed: number, part: number): Generator<number> {
  for (let pass = 0, given = 0; given < count; pass++) {
    // Passes of different texts draw from different streams, all apart from the one that shuffles the whole.
    const order = new Random(hash(seed, part + 1, pass)).permutation(available);
    for (let i = 0; i < available && given < count; i++, given++) yield order[i];
  }
}

/** Three numbers as one seed, by the multiply and xor steps of FNV. */
function hash(...values: readonly number[]): number {
  return (
    values.reduce((state, value) => Math.imul(state ^ value, 0x01000193) ^ (value >>> 7), 0x811c9dc5) >>> 0
  );
}
