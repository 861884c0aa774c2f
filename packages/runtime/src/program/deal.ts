/**
 * Deals the sign products of a level to the threads: laid end to end by their cost, each thread takes an equal stretch. So with
 * two threads gate goes to one and up to the other, and neither makes the tables of both; a product alone is cut by rows.
 */
import { OP_SIGN_MULTIPLY, OP_SIGN_PRODUCT, SHARE_UNITS, S_COLS, S_ROWS, S_SHARE, S_TERMS } from "../abi.js";
import type { Draft, Value } from "./draft.js";
import type { Level } from "./schedule.js";

/** Sets the shares; whatever the number of threads, they cover every row once. */
export function dealShares(level: Level): void {
  // Parts of one sum must be cut alike: a thread adds to what it wrote itself.
  const sums = new Map<Value, Draft[]>();
  for (const draft of level) {
    if (draft.op !== OP_SIGN_MULTIPLY && draft.op !== OP_SIGN_PRODUCT) continue;
    const terms = sums.get(draft.writes[0]);
    if (terms === undefined) sums.set(draft.writes[0], [draft]);
    else terms.push(draft);
  }
  if (sums.size < 2) return;
  const total = [...sums.values()].reduce((cost, terms) => cost + costOf(terms), 0);
  let before = 0;
  for (const terms of sums.values()) {
    const from = unitsOf(before / total);
    before += costOf(terms);
    const share = from * 65536 + unitsOf(before / total);
    for (const term of terms) term.operands[S_SHARE] = share;
  }
}

/** Signs that are added up. */
function costOf(terms: readonly Draft[]): number {
  return terms.reduce(
    (sum, { operands }) =>
      sum + Number(operands[S_TERMS]) * Number(operands[S_ROWS]) * Number(operands[S_COLS]),
    0,
  );
}

function unitsOf(fraction: number): number {
  return Math.round(fraction * SHARE_UNITS);
}
