/** Programs over left right^T, run on a few rows of a large matrix at a time, so that what they make beside it stays small. */
import type { AdmmShape } from "./admm-program.js";
import type { Programs } from "./programs.js";

/** Entries of a slab, at most: 256 MiB of floats. */
const SLAB_ENTRIES = 2 ** 26;

/** What both functions work on: weight [rows, cols], left [rows, rank], right [cols, rank]. */
export interface SlabTask {
  readonly weight: Float32Array;
  readonly left: Float32Array;
  readonly right: Float32Array;
  readonly shape: AdmmShape;
  readonly programs: Pick<Programs, "residual" | "dots">;
  /** Entries of weight worked on at once, at most. @default 2^26 */
  readonly entries?: number;
}

/** weight - left right^T, [rows, cols] in a new array. */
export async function residualOf(task: SlabTask): Promise<Float32Array> {
  const whole = new Float32Array(task.weight.length);
  const { cols } = task.shape;
  for (const { begin, end, shape, feeds } of slabs(task)) {
    const program = await task.programs.residual(shape);
    await program.run(feeds, { residual: whole.subarray(begin * cols, end * cols) });
  }
  return whole;
}

/** The outputs of `compileDots`. */
export async function dotsOf(task: SlabTask) {
  const { rows, cols } = task.shape;
  const [rowDots, rowSquares] = [new Float32Array(rows), new Float32Array(rows)];
  const [colDots, colSquares] = [new Float32Array(cols), new Float32Array(cols)];
  for (const { begin, shape, feeds } of slabs(task)) {
    const slab = await (await task.programs.dots(shape)).run(feeds);
    rowDots.set(slab["rowDots"], begin);
    rowSquares.set(slab["rowSquares"], begin);
    for (let col = 0; col < cols; col++) {
      colDots[col] += slab["colDots"][col];
      colSquares[col] += slab["colSquares"][col];
    }
  }
  return { rowDots, rowSquares, colDots, colSquares };
}

/** Stretches of rows; one for all but large matrices. */
function* slabs({ weight, left, right, shape: { rows, cols, rank }, entries = SLAB_ENTRIES }: SlabTask) {
  const height = Math.max(1, Math.floor(entries / cols));
  for (let begin = 0; begin < rows; begin += height) {
    const end = Math.min(begin + height, rows);
    const feeds = {
      weight: weight.subarray(begin * cols, end * cols),
      left: left.subarray(begin * rank, end * rank),
      right,
    };
    yield { begin, end, shape: { rows: end - begin, cols, rank }, feeds };
  }
}
