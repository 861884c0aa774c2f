/** What a plan's rows add up to. */
import type { ModelSpec } from "@subbit/core";
import type { Method } from "../choices.js";
import { fileLayout } from "./file-layout.js";
import type { PlanRow, PlanTotals } from "./plan.js";
import { rowBits } from "./rows.js";
import type { Tables } from "./tables.js";

export function totalsOf(
  spec: ModelSpec,
  method: Method,
  rows: readonly PlanRow[],
  tables: Tables,
  teacherBytes: number,
): PlanTotals {
  const { bytes, fileBytes } = fileLayout(spec, method, rows, tables);
  const sum = (of: readonly PlanRow[], value: (row: PlanRow) => number) =>
    of.reduce((s, row) => s + value(row), 0);
  const weights = (row: PlanRow) => row.rows * row.cols;
  const compressed = rows.filter((row) => row.kind !== "dense");
  const linearWeights = sum(rows, weights);
  const compressedWeights = sum(compressed, weights);
  const linearBytes = bytes.signs + bytes.scales + bytes.dense + bytes.biases;
  const tensorBytes = linearBytes + bytes.embeddings + bytes.head + bytes.norms;
  return {
    bpw: sum(rows, rowBits) / linearWeights,
    compressedBpw: sum(compressed, rowBits) / compressedWeights,
    paperBpw: sum(compressed, (row) => row.paperBpw * weights(row)) / compressedWeights,
    linearWeights,
    compressedWeights,
    linearBytes,
    embeddingBytes: bytes.embeddings,
    headBytes: bytes.head,
    normBytes: bytes.norms,
    otherBytes: fileBytes - tensorBytes,
    fileBytes,
    teacherBytes,
  };
}
