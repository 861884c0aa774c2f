/** Embedding and head of a plan: rows of integers or halves, or factored like a linear. */
import {
  inputError,
  type ModelSpec,
  rankForBits,
  type ScaleBits,
  smallestBpw,
  type TableEntry,
  tableTensors,
  type TensorPlan,
} from "@subbit/core";
import type { EmbedBits, EmbedMethod } from "../choices.js";
import { methodForm } from "../factorise/choice.js";
import { roundUp, storage } from "./budget.js";
import { AUTO, type MethodShape } from "./methods.js";
import type { TableRow } from "./plan.js";
import { tensorBytes } from "./rows.js";

/** Bits per weight of a factored table where none are asked for. */
export const DEFAULT_EMBED_BPW = 1;

export interface TableOptions {
  readonly method: EmbedMethod;
  readonly bits: EmbedBits;
  readonly bpw: number;
  readonly scaleBits: ScaleBits;
}

export interface Tables {
  readonly embedding: TableRow;
  readonly head?: TableRow;
}

/** Throws `input` when `bpw` is too small for a factored table. */
export function planTables(spec: ModelSpec, options: TableOptions): Tables {
  const embedding = tableRow(spec, "embeddings", options);
  return spec.tiedHead ? { embedding } : { embedding, head: tableRow(spec, "head", options) };
}

/** The tensors of a planned table. */
export function rowTensors(row: TableRow): TensorPlan[] {
  return tableTensors(row.name, tableEntry(row), row.part);
}

function tableRow(spec: ModelSpec, part: TableRow["part"], options: TableOptions): TableRow {
  const [rows, cols] = [spec.vocabSize, spec.ends.embeddingSize];
  const name = part === "head" ? spec.names.head : spec.names.embedding;
  const { method } = AUTO;
  const { paths, envelope, midScale } = methodForm(method);
  const shape: MethodShape = { method, paths, envelope, midScale, scaleBits: options.scaleBits };
  const factored = options.method === "factored";
  const row: Omit<TableRow, "bytes" | "bpw"> = {
    part,
    name,
    rows,
    cols,
    kind: factored ? "factored" : "dense",
    bits: factored ? 0 : options.bits,
    method,
    rank: factored ? rankOfTable(rows, cols, shape, options.bpw) : 0,
    paths: factored ? paths : 0,
    envelope: factored ? envelope : 0,
    midScale: factored && midScale,
    scaleBits: options.scaleBits,
  };
  const bytes = rowTensors({ ...row, bytes: 0, bpw: 0 }).reduce((sum, one) => sum + tensorBytes(one), 0);
  return { ...row, bytes, bpw: (8 * bytes) / (rows * cols) };
}

function rankOfTable(rows: number, cols: number, shape: MethodShape, bpw: number): number {
  const budget = { rows, cols, ...storage(shape) };
  const rank = rankForBits({ ...budget, bpw });
  if (rank >= 1) return rank;
  throw inputError(
    `${bpw} bits per weight were asked for the embedding, but a factored table of ${rows} x ${cols} needs at least ` +
      `${roundUp(smallestBpw(budget))}; ask for that or more.`,
  );
}

/** The manifest entry that a table will have. */
function tableEntry({ kind, rows, cols, bits, ...row }: TableRow): TableEntry {
  if (kind === "dense" && bits !== 0) return { kind, rows, cols, bits, biasBits: 0 };
  const { method, rank, paths, envelope, midScale, scaleBits } = row;
  return {
    kind: "factored",
    method,
    rows,
    cols,
    rank,
    paths,
    envelope,
    midScale,
    scaleBits,
    biasBits: 0,
  };
}
