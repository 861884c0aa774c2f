/** How many times faster: our file against every other one, round by round. */
import type { Row } from "./measure.js";
import { ratioOf, type Spread } from "./statistics.js";

export interface Ratio {
  /** The file that ours is compared with, and what ran it. */
  readonly against: string;
  readonly engine: Row["engine"];
  /** The same number on both sides, or "best": each side's fastest number for the figure in question. */
  readonly threads: number | "best";
  /** Ours over theirs; above 1 we are faster. */
  readonly decode: Readonly<Record<string, Spread>>;
  readonly prefill: Readonly<Record<string, Spread>>;
  /** Ours over theirs, of the figures of the rows; below 1 ours takes less. Absent for "best". */
  readonly load?: number;
  readonly rss?: number;
}

/** `rows` of the first file are ours. */
export function ratiosOf(rows: readonly Row[]): Ratio[] {
  const files = [...new Set(rows.map(({ file }) => file))];
  const fixed = rows.filter(({ auto }) => !auto);
  const ours = fixed.filter(({ file }) => file === files[0]);
  return files.slice(1).flatMap((against) => {
    const theirs = fixed.filter(({ file }) => file === against);
    const { engine } = theirs[0];
    const pairs = ours.flatMap((our): Ratio[] => {
      const their = theirs.find(({ threads }) => threads === our.threads);
      if (their === undefined) return [];
      return [
        {
          against,
          engine,
          threads: our.threads,
          decode: byLength(our.decode, their.decode),
          prefill: byLength(our.prefill, their.prefill),
          load: our.loadMs / their.loadMs,
          rss: our.rssBytes / their.rssBytes,
        },
      ];
    });
    const best: Ratio = {
      against,
      engine,
      threads: "best",
      decode: byLength(fastest(ours, "decode"), fastest(theirs, "decode")),
      prefill: byLength(fastest(ours, "prefill"), fastest(theirs, "prefill")),
    };
    return [...pairs, best];
  });
}

type Spreads = Readonly<Record<string, Spread>>;

function byLength(ours: Spreads, theirs: Spreads): Record<string, Spread> {
  return Object.fromEntries(
    Object.keys(ours).map((length) => [length, ratioOf(ours[length], theirs[length])]),
  );
}

/** For each length the spread of the thread count with the best median. */
function fastest(rows: readonly Row[], part: "prefill" | "decode"): Spreads {
  return Object.fromEntries(
    Object.keys(rows[0][part]).map((length) => [
      length,
      rows
        .map((row) => row[part][length])
        .reduce((best, spread) => (spread.median > best.median ? spread : best)),
    ]),
  );
}
