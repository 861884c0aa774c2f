/** Embedding tables and heads, whether their rows are stored or factored: some rows, or all. */
import { denseRow, denseValues } from "./dense-linear.js";
import { reconstruct, reconstructRows } from "./factored-linear.js";
import type { Table } from "./types.js";

/** Some rows as f32, [rows.length, cols]; a factored table multiplies out only these. Throws `internal` beyond its rows. */
export function tableRows(table: Table, rows: readonly number[]): Float32Array {
  if (table.kind === "factored") return reconstructRows(table, rows);
  const { cols } = table;
  const values = new Float32Array(rows.length * cols);
  rows.forEach((row, i) => denseRow(table, row, values.subarray(i * cols, (i + 1) * cols)));
  return values;
}

/** All values as f32, [rows, cols]; a linear that is dense or factored may be passed as well (its bias is left out). */
export function tableValues(table: Table): Float32Array {
  return table.kind === "factored" ? reconstruct(table) : denseValues(table);
}
