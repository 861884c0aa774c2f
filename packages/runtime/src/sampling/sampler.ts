/** From logits to the next token. Order: repeat penalty, temperature, top-k, top-p, min-p, draw. */
import { SubbitError } from "@subbit/core";
import { createRandom } from "./random.js";

export interface SamplingOptions {
  /** 0 takes the most likely token. @default 0 */
  readonly temperature?: number | undefined;
  /** Only the k most likely tokens; 0 for all. @default 0 */
  readonly topK?: number | undefined;
  /** Only the most likely tokens that together reach this probability. @default 1 */
  readonly topP?: number | undefined;
  /** Only tokens at least this likely relative to the most likely one. @default 0 */
  readonly minP?: number | undefined;
  /** Divides positive logits of tokens seen before, multiplies negative ones; 1 for none. @default 1 */
  readonly repeatPenalty?: number | undefined;
  /** @default 0 */
  readonly seed?: number | undefined;
}

export interface Sampler {
  /**
   * @param logits [vocab]; changed in place
   * @param seen prompt and generated tokens
   */
  next(logits: Float32Array, seen: readonly number[]): number;
}

/** The largest logits, best first; of equal ones the lowest id first. */
export interface LargestLogits {
  readonly ids: Int32Array;
  readonly logits: Float32Array;
}

/** A sampler that can often do with the largest logits, and then chooses what `next` would choose from all. */
export interface ShortlistSampler extends Sampler {
  /** How many of the largest it needs, 0 for all. */
  wanted(seen: readonly number[]): number;
  /** Undefined where these turn out not to be enough: `next` must be asked. */
  nextOf(largest: LargestLogits, seen: readonly number[]): number | undefined;
}

/** Of the cut-offs only min-p can do without the sum over all tokens; rarely are more tokens than this above it. */
const MIN_P_CANDIDATES = 64;
/** Above this temperature tokens of different logits may weigh the same, to the last bit. */
const HOTTEST = 1e6;

interface Candidate {
  readonly id: number;
  readonly weight: number;
}

/** Throws `usage` for a value that makes no sense. */
export function createSampler(options: SamplingOptions = {}): ShortlistSampler {
  const settings = checkSettings(options);
  const random = createRandom(options.seed ?? 0);
  return {
    next(logits, seen) {
      if (settings.repeatPenalty !== 1) penalise(logits, seen, settings.repeatPenalty);
      const top = largest(logits);
      if (!Number.isFinite(logits[top])) {
        throw new SubbitError(
          "input",
          "The model gave no finite logits; its weights are damaged, make or download it again.",
        );
      }
      if (settings.temperature === 0) return top;
      return draw(keep(weigh(logits, top, settings), settings), random());
    },
    wanted: (seen) => wantedOf(settings, seen),
    nextOf({ ids, logits }, seen) {
      const { temperature, repeatPenalty, topK, minP } = settings;
      const own = logits.slice();
      if (repeatPenalty !== 1) penalise(own, positions(ids, seen), repeatPenalty);
      const top = largest(own, ids);
      if (!Number.isFinite(own[top])) return undefined;
      if (temperature === 0) return ids[top];
      const weight = (logit: number): number => Math.exp((logit - own[top]) / temperature) || 0;
      // With min-p alone, the last of the list must be ruled out, and all that is not in it with that.
      if (topK === 0 && weight(logits[logits.length - 1]) >= minP) return undefined;
      const candidates = Array.from(ids, (id, i) => ({ id, weight: weight(own[i]) }));
      const kept = candidates.filter((candidate) => candidate.weight > 0);
      return draw(keep({ candidates: kept, total: 0 }, settings), random());
    },
  };
}

/**
 * Tokens seen before are asked for on top: a penalty can only lower them, so as many others as are needed remain, and seen
 * tokens outside of the list stay below these.
 */
function wantedOf(settings: Settings, seen: readonly number[]): number {
  const { temperature, topK, topP, minP, repeatPenalty } = settings;
  const minPAlone = minP > 0 && topP === 1 ? MIN_P_CANDIDATES : 0;
  const count = temperature === 0 ? 1 : topK > 0 ? topK : minPAlone;
  if (count === 0 || temperature > HOTTEST || repeatPenalty < 1) return 0;
  return repeatPenalty === 1 ? count : count + new Set(seen).size;
}

/** Where in `ids` the tokens seen before are. */
function positions(ids: Int32Array, seen: readonly number[]): number[] {
  const before = new Set(seen);
  return Array.from(ids.keys()).filter((at) => before.has(ids[at]));
}

type Settings = Required<{ [K in Exclude<keyof SamplingOptions, "seed">]: number }>;

function checkSettings(options: SamplingOptions): Settings {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repeatPenalty = 1, seed = 0 } = options;
  const demand = (holds: boolean, name: string, value: number, range: string): void => {
    if (!holds) throw new SubbitError("usage", `${name} = ${value} was asked, but it must be ${range}.`);
  };
  demand(temperature >= 0 && temperature < Infinity, "temperature", temperature, "at least 0");
  demand(Number.isInteger(topK) && topK >= 0, "topK", topK, "a whole number, 0 for all tokens");
  demand(topP > 0 && topP <= 1, "topP", topP, "above 0 and at most 1");
  demand(minP >= 0 && minP <= 1, "minP", minP, "from 0 to 1");
  demand(repeatPenalty > 0 && repeatPenalty < Infinity, "repeatPenalty", repeatPenalty, "above 0");
  demand(Number.isInteger(seed), "seed", seed, "a whole number");
  return { temperature, topK, topP, minP, repeatPenalty };
}

function penalise(logits: Float32Array, seen: readonly number[], penalty: number): void {
  for (const id of new Set(seen)) logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
}

/** Index of the largest value; the lowest index (or the lowest of `ids`) wins a tie. NaN is never the largest. */
export function largest(values: Float32Array, ids?: Int32Array): number {
  let best = 0;
  let bestValue = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (values[i] > bestValue || (ids !== undefined && values[i] === bestValue && ids[i] < ids[best])) {
      bestValue = values[i];
      best = i;
    }
  }
  return best;
}

interface Weighed {
  readonly candidates: Candidate[];
  /** Weight of all tokens, those left out included. */
  readonly total: number;
}

/** Unnormalised probabilities of the tokens that top-k and the cut-offs cannot rule out, the most likely one 1. */
function weigh(logits: Float32Array, top: number, { temperature, topK, topP, minP }: Settings): Weighed {
  let total = 0;
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < logits.length; i++)
    total += weights[i] = Math.exp((logits[i] - logits[top]) / temperature) || 0;
  // Tokens below this cannot be in the nucleus: all of them together hold less than 1 - topP. Cheaper than sorting everything.
  const floor = topK > 0 ? kthLargest(weights, topK) : Math.max(minP, ((1 - topP) * total) / logits.length);
  const kept: Candidate[] = [];
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] >= floor && weights[id] > 0) kept.push({ id, weight: weights[id] });
  }
  return { candidates: kept, total };
}

/** Value of rank k, by a heap of the k largest seen so far. */
function kthLargest(values: Float64Array, k: number): number {
  if (k >= values.length) return 0;
  const heap = values.slice(0, k).sort();
  for (let i = k; i < values.length; i++) {
    if (values[i] <= heap[0]) continue;
    // Sorted ascending is a heap; sift the replacement down.
    let at = 0;
    const value = values[i];
    for (;;) {
      let child = 2 * at + 1;
      if (child >= k) break;
      if (child + 1 < k && heap[child + 1] < heap[child]) child++;
      if (heap[child] >= value) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = value;
  }
  return heap[0];
}

function keep({ candidates, total }: Weighed, { topK, topP, minP }: Settings): Candidate[] {
  if (topK === 0 && topP === 1 && minP === 0) return candidates;
  // Equal weights keep the order of ids.
  let kept = candidates.sort((a, b) => b.weight - a.weight || a.id - b.id);
  if (topK > 0) {
    kept = kept.slice(0, topK);
    total = kept.reduce((sum, { weight }) => sum + weight, 0);
  }
  if (topP < 1) {
    let sum = 0;
    const end = kept.findIndex(({ weight }) => (sum += weight) >= topP * total);
    kept = kept.slice(0, end < 0 ? kept.length : end + 1);
  }
  return minP > 0 ? kept.filter(({ weight }) => weight >= minP * kept[0].weight) : kept;
}

function draw(candidates: readonly Candidate[], uniform: number): number {
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0);
  let left = uniform * total;
  for (const { id, weight } of candidates) {
    left -= weight;
    if (left < 0) return id;
  }
  return candidates[candidates.length - 1].id;
}
