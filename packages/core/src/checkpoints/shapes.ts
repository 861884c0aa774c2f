/** Shapes and row ranges, checked before any byte is asked for. */
import { SubbitError, inputError } from "../errors.js";
import { MAX_DIMENSIONS } from "./limits.js";
import type { RowRange, TensorInfo } from "./types.js";

/** Elements of a shape; `undefined` where it is not a list of at most 8 counts whose product a double holds exactly (CWE-190). */
export function elementCount(shape: readonly unknown[]): number | undefined {
  if (shape.length > MAX_DIMENSIONS) return undefined;
  let count = 1;
  for (const size of shape) {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

/** Rows (first dimension); a scalar is one row. */
export function rowsOf(shape: readonly number[]): number {
  return shape[0] ?? 1;
}

/** Elements of a row: the product of all dimensions but the first. */
export function columnsOf(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, size) => product * size, 1);
}

/** The range, checked against the tensor; all rows where none is given. */
export function resolveRows(info: TensorInfo, rows: RowRange | undefined): RowRange {
  const total = rowsOf(info.shape);
  if (rows === undefined) return { begin: 0, end: total };
  const { begin, end } = rows;
  if (!Number.isInteger(begin) || !Number.isInteger(end) || begin < 0 || end < begin || end > total) {
    throw new SubbitError(
      "usage",
      `Rows ${begin} to ${end} of tensor ${info.name} were asked, which has ${total} rows.`,
    );
  }
  return rows;
}

/** Where the rows lie inside the tensor's bytes. */
export function rowSpan(info: TensorInfo, rows: RowRange): { offset: number; length: number } {
  const total = rowsOf(info.shape);
  const rowBytes = total === 0 ? 0 : info.bytes / total;
  return { offset: rows.begin * rowBytes, length: (rows.end - rows.begin) * rowBytes };
}

/** The tensor, or an `input` error that says what the checkpoint has instead. */
export function requireTensor(
  tensors: ReadonlyMap<string, TensorInfo>,
  name: string,
  of: string,
): TensorInfo {
  const info = tensors.get(name);
  if (info !== undefined) return info;
  const some = [...tensors.keys()].slice(0, 3).join(", ");
  throw inputError(
    `${of} has no tensor named ${name}; it has ${tensors.size} tensors${some && ` (${some} ...)`}.`,
  );
}
