/**
 * One candidate an item under a budget of bits, for the smallest sum of losses: the multiple-choice knapsack by its
 * convex relaxation. Every item starts at its cheapest candidate and moves along the lower convex hull of (bits, loss);
 * moves are made in the order of what a bit of them gains, and one that does not fit ends its item. A larger budget
 * never gives a larger loss: at the first move that only it can pay for, it gains more than the rest of the smaller
 * budget could on anything that comes later.
 */

export interface Candidate<T> {
  readonly bits: number;
  readonly loss: number;
  readonly what: T;
}

/** The candidate of each item. Items with equal candidates get equal ones; those that do not fit keep the cheapest. */
export function choose<T>(items: readonly (readonly Candidate<T>[])[], budgetBits: number): Candidate<T>[] {
  const groups = groupEqual(items);
  const hulls = groups.map((group) => lowerHull(items[group[0]]));
  const at = hulls.map(() => 0);
  const moves = hulls.flatMap((hull, g) =>
    hull.slice(1).map((to, i) => {
      const bits = to.bits - hull[i].bits;
      return { group: g, bits: bits * groups[g].length, gain: (hull[i].loss - to.loss) / bits };
    }),
  );
  // Within a group gains fall, so that the order of all moves keeps the order of each group's.
  moves.sort((a, b) => b.gain - a.gain || a.group - b.group);
  let left = budgetBits - sum(hulls.map((hull, g) => hull[0].bits * groups[g].length));
  const ended = new Set<number>();
  for (const { group, bits } of moves) {
    if (ended.has(group)) continue;
    if (bits > left) {
      ended.add(group);
      continue;
    }
    left -= bits;
    at[group]++;
  }
  const chosen: Candidate<T>[] = [];
  groups.forEach((group, g) => group.forEach((item) => (chosen[item] = hulls[g][at[g]])));
  return chosen;
}

/** Indices of items with the same bits and losses, group by group. */
function groupEqual<T>(items: readonly (readonly Candidate<T>[])[]): number[][] {
  const groups = new Map<string, number[]>();
  items.forEach((candidates, index) => {
    const key = candidates.map(({ bits, loss }) => `${bits}:${loss}`).join(" ");
    const group = groups.get(key);
    if (group) group.push(index);
    else groups.set(key, [index]);
  });
  return [...groups.values()];
}

/** From the cheapest on, each with a lower loss at a smaller gain a bit than the one before. */
function lowerHull<T>(candidates: readonly Candidate<T>[]): Candidate<T>[] {
  const hull: Candidate<T>[] = [];
  const gain = (from: Candidate<T>, to: Candidate<T>) => (from.loss - to.loss) / (to.bits - from.bits);
  for (const next of [...candidates].sort((a, b) => a.bits - b.bits || a.loss - b.loss)) {
    // What costs more (or the same) and loses as much is never worth it.
    if (hull.length > 0 && !(next.loss < hull[hull.length - 1].loss)) continue;
    if (hull.length > 0 && next.bits === hull[hull.length - 1].bits) continue;
    while (
      hull.length >= 2 &&
      gain(hull[hull.length - 2], hull[hull.length - 1]) <= gain(hull[hull.length - 2], next)
    ) {
      hull.pop();
    }
    hull.push(next);
  }
  return hull;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
