/**
 * LittleBit's rule from bits to ranks, and back: its loader sizes every linear by one target for the whole model, so a
 * model of given ranks is written with the target that gives them, where there is one.
 */
import type { LinearToWrite } from "./official-layout.js";

/** Ranks are multiples of this, and at least this. */
const RANK_STEP = 8;

/** Bits per weight of a linear as the official code counts them: one middle scale a path. */
export function storedBits(rows: number, cols: number, rank: number, paths: number): number {
  return (paths * (rank * (rows + cols + 16) + 16 * (rows + cols))) / (rows * cols);
}

/** The rank that the official code gives a linear for `bits`, before it is rounded. */
function wholeRank(rows: number, cols: number, paths: number, bits: number): number {
  return ((bits * rows * cols) / paths - 16 * (rows + cols)) / (rows + cols + 16);
}

export interface LittleBitPlan {
  /** null where no target gives these ranks. */
  readonly effBit: number | null;
  /** Multiplies the ranks of keys and values. */
  readonly kvFactor: number;
  readonly note?: string;
}

/** The target whose ranks these are. */
export function planLittleBit(linears: readonly LinearToWrite[]): LittleBitPlan {
  const isKv = ({ site }: LinearToWrite): boolean => site.role === "k" || site.role === "v";
  const bits = intersect(linears.filter((linear) => !isKv(linear)).map((linear) => bitsOf(linear)));
  const effBit = bits && shortNumber(bits);
  if (effBit !== undefined) {
    const factors = intersect(linears.filter(isKv).map((linear) => factorsOf(linear, effBit)));
    const kvFactor = factors && (contains(factors, 1) ? 1 : shortNumber(factors));
    if (kvFactor !== undefined) return { effBit, kvFactor };
  }
  return {
    effBit: null,
    kvFactor: 1,
    note: "The ranks of this model follow from no eff_bit and kv_factor, by which the official LittleBit code sizes its linears; it may refuse the folder.",
  };
}

/** [from, to) */
type Interval = readonly [number, number];

/** Ranks before rounding that are rounded to the linear's. */
function unrounded({ ranks: [rank] }: LinearToWrite): Interval | undefined {
  if (rank % RANK_STEP !== 0) return undefined;
  return [rank === RANK_STEP ? -Infinity : rank, rank + RANK_STEP];
}

function bitsOf(linear: LinearToWrite): Interval | undefined {
  const { rows, cols, ranks } = linear;
  const range = unrounded(linear);
  const paths = ranks.length;
  return range?.map((rank) => storedBits(rows, cols, rank, paths)) as unknown as Interval | undefined;
}

function factorsOf(linear: LinearToWrite, bits: number): Interval | undefined {
  const { rows, cols, ranks } = linear;
  const range = unrounded(linear);
  const whole = wholeRank(rows, cols, ranks.length, bits);
  if (range === undefined || whole <= 0) return undefined;
  return [Math.max(0, range[0] / whole), range[1] / whole];
}

function intersect(intervals: readonly (Interval | undefined)[]): Interval | undefined {
  let both: Interval = [-Infinity, Infinity];
  for (const interval of intervals) {
    if (interval === undefined) return undefined;
    both = [Math.max(both[0], interval[0]), Math.min(both[1], interval[1])];
  }
  return both[0] < both[1] ? both : undefined;
}

function contains([from, to]: Interval, value: number): boolean {
  return value >= from && value < to;
}

/** A number with few decimals well inside the interval; one end may be open. */
function shortNumber([from, to]: Interval): number {
  const middle = from === -Infinity ? to / 2 : to === Infinity ? from + 1 : (from + to) / 2;
  for (let decimals = 1; decimals < 12; decimals++) {
    const short = Number(middle.toFixed(decimals));
    if (short > from && short < to && short > 0) return short;
  }
  return middle;
}
