/** From `--tasks` and `--data` to rows: tasks known by name lie in the data folder, a path is a task of the user's own. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { SubbitError } from "@subbit/core";
import { readTextFile } from "@subbit/core/node";
import {
  customTask,
  readTaskRows,
  TASKS,
  type RowRange,
  type TaskDefinition,
  type TaskRow,
} from "@subbit/evaluate";

export interface LoadedTask {
  readonly name: string;
  readonly rows: readonly TaskRow[];
}

interface TaskFile {
  readonly task: TaskDefinition;
  readonly path: string;
}

const EXTENSION = ".jsonl";

/**
 * Reads the asked rows of all tasks before any work. Throws `usage` for an unknown or doubled name, or names without a data
 * folder; `input` for files that do not fit.
 *
 * @param names as given: names and paths between commas
 */
export async function loadTasks(
  names: string,
  data: string | undefined,
  range: RowRange,
): Promise<LoadedTask[]> {
  const files = names.split(",").map((name) => taskFile(name.trim(), data));
  const doubled = files.find(({ task }, i) => files.findIndex((other) => other.task.name === task.name) < i);
  if (doubled !== undefined) {
    throw new SubbitError("usage", `The task ${doubled.task.name} was asked for twice; give each name once.`);
  }
  const tasks: LoadedTask[] = [];
  for (const { task, path } of files) {
    tasks.push({
      name: task.name,
      rows: readTaskRows(task, basename(path), await readTextFile(path), range),
    });
  }
  return tasks;
}

function taskFile(name: string, data: string | undefined): TaskFile {
  if (name.endsWith(EXTENSION)) return { task: customTask(basename(name, EXTENSION)), path: name };
  const task = TASKS.find((known) => known.name === name);
  const known = TASKS.map((one) => one.name).join(", ");
  if (task === undefined) {
    throw new SubbitError(
      "usage",
      `There is no task ${JSON.stringify(name)}; give some of ${known}, or the path of a ${EXTENSION} file.`,
    );
  }
  if (data === undefined) {
    throw new SubbitError(
      "usage",
      `The task ${name} needs its data; give --data with the folder that holds ${name}${EXTENSION}.`,
    );
  }
  const path = join(data, `${name}${EXTENSION}`);
  if (existsSync(path)) return { task, path };
  throw new SubbitError("input", `The task ${name} was asked for, but there is no ${path}; check --data.`);
}
