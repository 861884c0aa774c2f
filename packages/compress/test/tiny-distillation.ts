/** A tiny teacher, students of every format made from it, and the tasks of distilling one into the other. */
import { LINEAR_ROLES, type LinearRole } from "@subbit/core";
import { firstWindows, type Windows } from "../src/calibrate/windows.js";
import type { DistilTask } from "../src/distil/types.js";
import { Factoriser } from "../src/factorise/index.js";
import { Random } from "../src/random.js";
import type { LinearState } from "../src/student/linear-state.js";
import { type EndsState, readEnds } from "../src/student/model-state.js";
import { type BlockState, copyBlock } from "../src/student/state.js";
import { TeacherBlocks } from "../src/student/teacher-blocks.js";
import { type DistilRecipe, trainRecipe } from "../src/train-recipe.js";
import { type Format, handMade } from "./formats.js";
import { tinyModel, tinyText } from "./tiny-model.js";

export const compile = { threads: 1, spin: false };

export interface TinyDistillation {
  /** A task of its own arrays, of the default recipe with some values replaced. */
  task(change?: Partial<DistilRecipe>, steps?: number): DistilTask;
}

/** Students by format, copied by every task. */
const students = new Map<Format, Promise<BlockState[]>>();

/** @param count windows of `seqlen` tokens */
export async function tinyDistillation(
  format: Format,
  { count = 4, seqlen = 12 }: { count?: number; seqlen?: number } = {},
): Promise<TinyDistillation> {
  const model = await tinyModel();
  const ends = await readEnds(model);
  const windows: Windows = firstWindows(tinyText(count * seqlen), seqlen);
  const teacherBlocks = new TeacherBlocks(model, true);
  const made = students.get(format) ?? studentBlocks(format, teacherBlocks, model.spec.layers);
  students.set(format, made);
  const blocks = await made;
  return {
    task: (change = {}, steps = 6) => ({
      spec: model.spec,
      student: { blocks: blocks.map((block) => copyBlock(block)), ends: ownNorm(ends) },
      teacher: ends,
      teacherBlocks,
      windows,
      recipe: { ...trainRecipe("default"), batch: 2, ...change },
      steps,
      seed: 0,
    }),
  };
}

function ownNorm(ends: EndsState): EndsState {
  return { ...ends, finalNorm: { weight: ends.finalNorm!.weight.slice() } };
}

async function studentBlocks(format: Format, teacher: TeacherBlocks, layers: number): Promise<BlockState[]> {
  const factoriser = new Factoriser();
  const random = new Random(3);
  const blocks: BlockState[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const dense = await teacher.block(layer);
    const linears = {} as Record<LinearRole, LinearState>;
    for (const role of LINEAR_ROLES) {
      const linear = dense.linears[role];
      if (linear.kind === "dense") linears[role] = await handMade(format, linear, factoriser, random);
    }
    blocks.push({ linears, norms: copyBlock(dense).norms });
  }
  await factoriser.dispose();
  return blocks;
}
