/** Large matrices a few rows at a time, so that what programs make beside them stays small. */
import type { AdmmShape } from "./admm-program.js";
import { collectGarbage } from "./collect-garbage.js";
import type { Programs } from "./programs.js";

/** Entries of a slab, at most: 256 MiB of floats. */
const SLAB_ENTRIES = 2 ** 26;

/** Ranges of the rows of a matrix with `cols` columns: one for all but large ones, for which garbage is collected. */
export function largeRowSlabs(rows: number, cols: number): [begin: number, end: number][] {
  const height = Math.max(1, Math.floor(SLAB_ENTRIES / cols));
  const count = Math.ceil(rows / height);
  if (count > 1) collectGarbage();
  return Array.from({ length: count }, (_, i) => [i * height, Math.min((i + 1) * height, rows)]);
}

/** weight - left right^T [rows, cols] in a new array; left [rows, rank], right [cols, rank]. */
export async function residualOf(
  weight: Float32Array,
  left: Float32Array,
  right: Float32Array,
  { rows, cols, rank }: AdmmShape,
  programs: Programs,
): Promise<Float32Array> {
  const whole = new Float32Array(weight.length);
  for (const [begin, end] of largeRowSlabs(rows, cols)) {
    const program = await programs.residual({ rows: end - begin, cols, rank });
    const feeds = {
      weight: weight.subarray(begin * cols, end * cols),
      left: left.subarray(begin * rank, end * rank),
      right,
    };
    await program.run(feeds, { residual: whole.subarray(begin * cols, end * cols) });
  }
  return whole;
}
