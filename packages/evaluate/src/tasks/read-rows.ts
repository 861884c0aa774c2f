/** Rows of a task out of the text of a JSONL file. What a file may ask of us is bounded before it is parsed. */
import { inputError, SubbitError } from "@subbit/core";
import type { ChoiceRow, TaskDefinition, TaskRow } from "./types.js";

/** Characters of one line: the longest passages of BoolQ have 5,000 (CWE-770, tokenising takes time). */
const MAX_LINE_LENGTH = 1 << 20;

/** Choices of one row (CWE-770). */
const MAX_CHOICES = 256;

export interface RowRange {
  /** Rows to leave out from the start. @default 0 */
  readonly offset?: number | undefined;
  /** At most so many. @default all */
  readonly limit?: number | undefined;
}

/**
 * The asked rows of a data file. Throws `input` with the number of the line that does not fit the task, and where the file
 * has no row in the range; lines outside it are not looked at.
 *
 * @param fileName for messages
 */
export function readTaskRows(
  task: TaskDefinition,
  fileName: string,
  text: string,
  { offset = 0, limit = Infinity }: RowRange = {},
): TaskRow[] {
  const rows: TaskRow[] = [];
  let row = 0;
  for (const [i, line] of text
    .replace(/^\ufeff/, "")
    .split("\n")
    .entries()) {
    if (line.trim() === "") continue;
    if (row >= offset + limit) break;
    if (row >= offset) rows.push({ row, ...readRow(task, line, `Line ${i + 1} of ${fileName}`) });
    row++;
  }
  if (rows.length > 0) return rows;
  if (row > 0 && row <= offset) {
    throw new SubbitError(
      "usage",
      `Rows from ${offset} on were asked for, but ${fileName} has only ${row}; give a smaller offset.`,
    );
  }
  throw inputError(`${fileName} has no rows; give a file with one JSON object a line.`);
}

function readRow(task: TaskDefinition, line: string, where: string): ChoiceRow {
  if (line.length > MAX_LINE_LENGTH) {
    throw inputError(
      `${where} has ${line.length} characters, but a row of a task may have ${MAX_LINE_LENGTH}; shorten it.`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw inputError(`${where} is not JSON; the task ${task.name} wants one JSON object a line.`, { cause });
  }
  const result = task.row.safeParse(value);
  const problem = result.success ? problemOf(result.data) : describe(result.error.issues[0]);
  if (!result.success || problem !== undefined) {
    throw inputError(`${where} is no row of the task ${task.name}: ${problem}.`);
  }
  return result.data;
}

function problemOf({ requests, gold }: ChoiceRow): string | undefined {
  if (requests.length < 2) return `it has ${requests.length} choices, and a task needs two at least`;
  if (requests.length > MAX_CHOICES) {
    return `it has ${requests.length} choices, and ${MAX_CHOICES} are the most`;
  }
  if (gold >= requests.length) return `the right choice is number ${gold} (from 0) of ${requests.length}`;
  if (requests.some(({ continuation }) => continuation === "")) return "a choice is empty";
  return undefined;
}

function describe({ path, message }: { path: readonly PropertyKey[]; message: string }): string {
  const reason = message.replace(/^Invalid input: /, "");
  return path.length === 0 ? reason : `${path.join(".")}: ${reason}`;
}
