/** Scores tasks with one model, and with its teacher, on a device; what a journal holds is not run again. */
import { openTokenizer, type Model } from "@subbit/core";
import {
  prepareTask,
  scoreTask,
  summariseTask,
  type LogLikelihoods,
  type PreparedTask,
  type ScoreStore,
  type TaskReport,
} from "@subbit/evaluate";
import { withForward, type DeviceOptions } from "../backends.js";
import type { Context } from "../context.js";
import { withModel, type ModelOrigin } from "../open-source.js";
import type { KvBitsOptions, ThreadOptions } from "../options/common.js";
import { ScoreJournal, scoringKey } from "./score-journal.js";
import type { LoadedTask } from "./task-files.js";

export interface TaskRunOptions extends ThreadOptions, KvBitsOptions, DeviceOptions {
  readonly teacher?: string;
  /** Folder of the journal. */
  readonly work?: string;
}

export type TaskReports = ReadonlyMap<string, TaskReport>;

/** Reports by the tasks' names, in their order. */
export async function runTasks(
  context: Context,
  origin: ModelOrigin,
  model: Model,
  tasks: readonly LoadedTask[],
  options: TaskRunOptions,
): Promise<TaskReports> {
  const scores = await scoreAll(context, origin, model, tasks, options);
  const { teacher } = options;
  const teacherScores =
    teacher === undefined
      ? undefined
      : await withModel(context, teacher, (other, opened) =>
          scoreAll(context, opened, other, tasks, options),
        );
  return new Map(
    tasks.map(({ name, rows }, i) => [name, summariseTask(rows, scores[i], teacherScores?.[i])]),
  );
}

/** Log-likelihoods of every row of every task. */
async function scoreAll(
  context: Context,
  origin: ModelOrigin,
  model: Model,
  tasks: readonly LoadedTask[],
  options: TaskRunOptions,
): Promise<LogLikelihoods[][]> {
  const { work } = options;
  if (work === undefined) return scoreWith(undefined, context, model, tasks, options);
  const key = await scoringKey(context, origin, model, options);
  const journal = await ScoreJournal.open(work, key);
  try {
    return await scoreWith(journal, context, model, tasks, options);
  } finally {
    await journal.close();
  }
}

async function scoreWith(
  store: ScoreStore | undefined,
  { signal, onProgress }: Context,
  model: Model,
  tasks: readonly LoadedTask[],
  { threads, kvBits, device }: TaskRunOptions,
): Promise<LogLikelihoods[][]> {
  const tokenizer = await openTokenizer(model.checkpoint);
  const prepared: PreparedTask[] = [];
  for (const { name, rows } of tasks) {
    const maxTokens = model.spec.maxPositions;
    prepared.push(await prepareTask(rows, tokenizer, { name, maxTokens, store, onProgress, signal }));
  }
  const tokens = Math.max(...prepared.map(({ longest }) => longest));
  // Everything was scored before: the model need not be loaded.
  if (tokens === 0) return prepared.map(({ rows }) => rows.map(({ known }) => known ?? []));
  return withForward(model, device, { threads, kvBits, tokens, signal, onProgress }, async (forward) => {
    const scores: LogLikelihoods[][] = [];
    for (const task of prepared) scores.push(await scoreTask(task, forward, { store, onProgress, signal }));
    return scores;
  });
}
