/** One linear of a plan: its bits and bytes from the form it will have. */
import {
  bitsOfDenseMatrix,
  bitsOfOneBit,
  bitsOfRank,
  type LinearSite,
  type ModelSpec,
  paperBpw,
  PLAIN_DTYPE_BYTES,
  type PlainDtype,
  type ScaleBits,
  type TensorPlan,
} from "@subbit/core";
import type { Method } from "../choices.js";
import type { MethodShape } from "./methods.js";
import type { PlanRow } from "./plan.js";

/** Bits of a stored bias value. */
const BIAS_BITS = 16;

/** Bytes of a tensor in the first of the dtypes that it may have. */
export function tensorBytes({ dtypes, shape }: TensorPlan): number {
  return shape.reduce((size, n) => size * n, PLAIN_DTYPE_BYTES[dtypes[0] as PlainDtype]);
}

/** A linear as a factored one; `ranks` holds one a path. */
export function factoredRow(
  spec: ModelSpec,
  site: LinearSite,
  shape: MethodShape,
  ranks: readonly number[],
): PlanRow {
  const { rows, cols } = spec.linearShapes[site.role];
  const { method, paths, envelope, midScale, scaleBits } = shape;
  const [rank] = ranks;
  const even = ranks.every((one) => one === rank);
  const own = { rows, cols, rank, ...(even ? {} : { ranks: [...ranks] }), paths, envelope };
  const { total } = bitsOfRank({ ...own, midScale, scaleBits });
  return {
    ...start(spec, site),
    kind: "factored",
    method,
    ...own,
    midScale,
    scaleBits,
    ...costs(spec, site, total),
    paperBpw: paperBpw(method, own) ?? total / (rows * cols),
  };
}

/** A linear as a full-rank sign matrix with two scale vectors. */
export function oneBitRow(spec: ModelSpec, site: LinearSite, method: Method, scaleBits: ScaleBits): PlanRow {
  const { rows, cols } = spec.linearShapes[site.role];
  const { total } = bitsOfOneBit({ rows, cols, scaleBits });
  return {
    ...start(spec, site),
    kind: "onebit",
    method,
    rank: 0,
    paths: 0,
    envelope: 1,
    midScale: false,
    scaleBits,
    ...costs(spec, site, total),
    paperBpw: paperBpw(method, { rows, cols, rank: 0, paths: 1, envelope: 1 }) ?? total / (rows * cols),
  };
}

/** A linear that stays as it is, at 16 bits. */
export function denseRow(spec: ModelSpec, site: LinearSite): PlanRow {
  const { rows, cols } = spec.linearShapes[site.role];
  const { total } = bitsOfDenseMatrix("f16", rows, cols);
  return {
    ...start(spec, site),
    kind: "dense",
    rank: 0,
    paths: 0,
    envelope: 0,
    midScale: false,
    scaleBits: 16,
    ...costs(spec, site, total),
    paperBpw: total / (rows * cols),
  };
}

function start(spec: ModelSpec, site: LinearSite): Pick<PlanRow, "site" | "name" | "rows" | "cols"> {
  const { rows, cols } = spec.linearShapes[site.role];
  return { site, name: spec.names.linear(site), rows, cols };
}

function costs(spec: ModelSpec, site: LinearSite, bits: number): Pick<PlanRow, "bytes" | "bpw"> {
  const { rows, cols, bias } = spec.linearShapes[site.role];
  return { bytes: (bits + (bias ? rows * BIAS_BITS : 0)) / 8, bpw: bits / (rows * cols) };
}

/** Stored bits of a row without its bias. */
export function rowBits(row: PlanRow): number {
  return row.bpw * row.rows * row.cols;
}
