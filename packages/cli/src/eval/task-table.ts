/** The table of tasks for people. */
import type { TaskReport } from "@subbit/evaluate";
import { renderTable, type Column } from "../output/table.js";
import type { TaskReports } from "./run-tasks.js";

const COLUMNS: readonly Column[] = [
  { title: "task" },
  { title: "rows", align: "right" },
  { title: "acc", align: "right" },
  { title: "+-", align: "right" },
  { title: "acc_norm", align: "right" },
  { title: "+-", align: "right" },
];

const TEACHER_COLUMNS: readonly Column[] = [
  { title: "teacher acc", align: "right" },
  { title: "acc_norm", align: "right" },
  { title: "agreement", align: "right" },
];

/** Percent with a standard error each; the last row is the plain mean over tasks, where there are several. */
export function renderTasks(reports: TaskReports): string {
  const rows = [...reports].map(([name, report]) => [
    name,
    String(report.n),
    ...scoreCells(report),
    ...teacherCells(report),
  ]);
  const withTeacher = [...reports.values()].some(({ teacher }) => teacher !== undefined);
  if (reports.size > 1) rows.push(["mean", "", percent(meanAccuracy(reports))]);
  return renderTable([...COLUMNS, ...(withTeacher ? TEACHER_COLUMNS : [])], rows);
}

/** Mean of acc over tasks, each counting the same. */
export function meanAccuracy(reports: TaskReports): number {
  return [...reports.values()].reduce((sum, { acc }) => sum + acc, 0) / reports.size;
}

function scoreCells({ acc, accStderr, accNorm, accNormStderr }: TaskReport): string[] {
  return [percent(acc), percent(accStderr), percent(accNorm), percent(accNormStderr)];
}

function teacherCells({ teacher, choiceAgreement }: TaskReport): string[] {
  if (teacher === undefined || choiceAgreement === undefined) return [];
  return [percent(teacher.acc), percent(teacher.accNorm), percent(choiceAgreement)];
}

function percent(share: number | null): string {
  return share === null ? "-" : (100 * share).toFixed(1);
}
