/**
 * Orders drafts into levels: a draft's level is one above the highest level it depends on. Drafts of one level run without a
 * barrier between them, so q, k and v (or gate and up) share one, and the number of barriers is the depth of the pass.
 */
import type { Draft, Value } from "./draft.js";

/** Drafts of the same level, in order of emission. */
export type Level = Draft[];

export function schedule(drafts: readonly Draft[]): Level[] {
  const levels: Level[] = [];
  /** Level of the last writer of a value, by the place it names. */
  const written = new Map<number, number>();
  for (const draft of drafts) {
    let level = 0;
    for (const value of draft.reads) {
      const before = written.get(placeOf(value));
      if (before === undefined) continue;
      const own = draft.chained === true && draft.writes.includes(value);
      level = Math.max(level, own ? before : before + 1);
    }
    for (const value of draft.writes) written.set(placeOf(value), level);
    (levels[level] ??= []).push(draft);
  }
  return levels;
}

/** Values of the same fixed address are the same place; others are places of their own. */
function placeOf(value: Value): number {
  return value.address === undefined ? -1 - value.id : value.address;
}
