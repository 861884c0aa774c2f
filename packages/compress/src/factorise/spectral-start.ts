/** Signs of a low-rank factorisation with the truncated SVD of its magnitudes: MDBF's closed form, with any envelope. */
import { asScales, magnitudesOf } from "./envelope.js";
import { lowRank } from "./low-rank.js";
import type { PathTask } from "./methods/method.js";
import type { SignPath } from "./sign-path.js";

/** Of the task's rank, or the matrix's where that is smaller. */
export async function fromLowRank(task: PathTask): Promise<SignPath> {
  const { envelope, programs } = task;
  const { rows, cols } = task.shape;
  const rank = Math.min(task.shape.rank, rows, cols);
  const { left, right } = await lowRank({ ...task, shape: { rows, cols, rank } });
  const out = asScales(await magnitudesOf(left, [rows, rank], envelope, programs), envelope);
  const into = asScales(await magnitudesOf(right, [cols, rank], envelope, programs), envelope);
  const found = {
    outLatents: left,
    inLatents: right,
    envelope,
    outScales: out.outer,
    inScales: into.outer,
  };
  if (envelope > 1) return { ...found, midScales: into.middle, midOutScales: out.middle };
  return { ...found, midScales: into.middle.map((value, k) => value * out.middle[k]) };
}
