/** Gives every value of a scheduled program a place in scratch memory; places are reused once a value has been read for the last time. */
import type { Value } from "./draft.js";
import type { Level } from "./schedule.js";

const ALIGNMENT = 64;

export interface ScratchPlan {
  /** Offset of each value from the start of the scratch memory. */
  readonly offsets: ReadonlyMap<Value, number>;
  readonly bytes: number;
}

/**
 * @param segments levels of the parts of the program that run one after the other
 * @param keep values that must outlive the given segment, up to its end
 * @param tile tokens of the largest tile
 */
export function allocateScratch(
  segments: readonly (readonly Level[])[],
  keep: readonly (readonly Value[])[],
  tile: number,
): ScratchPlan {
  const { first, last } = lifetimes(segments, keep);
  const values = [...first.keys()].sort((a, b) => first.get(a)! - first.get(b)! || a.id - b.id);
  const offsets = new Map<Value, number>();
  let live: { value: Value; begin: number; end: number }[] = [];
  let bytes = 0;
  for (const value of values) {
    const now = first.get(value)!;
    live = live.filter((other) => last.get(other.value)! >= now);
    const size = Math.ceil((value.rowBytes * tile) / ALIGNMENT) * ALIGNMENT;
    const begin = firstGap(live, size);
    live.push({ value, begin, end: begin + size });
    live.sort((a, b) => a.begin - b.begin);
    offsets.set(value, begin);
    bytes = Math.max(bytes, begin + size);
  }
  return { offsets, bytes };
}

/** Times (levels counted through all segments) at which values are first written and last touched. */
function lifetimes(segments: readonly (readonly Level[])[], keep: readonly (readonly Value[])[]) {
  const first = new Map<Value, number>();
  const last = new Map<Value, number>();
  let time = 0;
  segments.forEach((levels, s) => {
    for (const level of levels) {
      for (const draft of level) {
        for (const value of [...draft.reads, ...draft.writes]) {
          if (value.address !== undefined) continue;
          if (!first.has(value)) first.set(value, time);
          last.set(value, time);
        }
      }
      time++;
    }
    for (const value of keep[s] ?? []) last.set(value, Math.max(last.get(value) ?? 0, time - 1));
  });
  return { first, last };
}

/** Begin of the first gap of `size` bytes between live places, sorted by begin. */
function firstGap(live: readonly { begin: number; end: number }[], size: number): number {
  let at = 0;
  for (const { begin, end } of live) {
    if (begin - at >= size) return at;
    at = Math.max(at, end);
  }
  return at;
}
