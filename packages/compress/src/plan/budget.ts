/** Ranks of the linears for a budget in bits per weight, and what they cost. */
import {
  bitsOfDenseMatrix,
  bitsOfRank,
  inputError,
  LINEAR_ROLES,
  type LinearSite,
  type ModelSpec,
  paperBpw,
  rankForBits,
  rankForPaperBits,
  smallestBpw,
} from "@subbit/core";
import type { BitsFormula, Method } from "../choices.js";
import type { PlanRow } from "./plan.js";

/** How a method stores a linear. */
export interface MethodShape {
  readonly method: Method;
  readonly paths: number;
  readonly midScale: boolean;
}

export interface BudgetOptions {
  readonly bitsFormula: BitsFormula;
  readonly kvFactor: number;
  readonly keepFirst: number;
  readonly keepLast: number;
}

/** Rows of all linears in model order. Throws `input` when `bpw` is too small for one of the shapes. */
export function planRows(
  spec: ModelSpec,
  shape: MethodShape,
  bpw: number,
  options: BudgetOptions,
): PlanRow[] {
  const rows: PlanRow[] = [];
  for (let layer = 0; layer < spec.layers; layer++) {
    const kept = layer < options.keepFirst || layer >= spec.layers - options.keepLast;
    for (const role of LINEAR_ROLES) {
      const site = { layer, role };
      rows.push(kept ? denseRow(spec, site) : factoredRow(spec, site, shape, bpw, options));
    }
  }
  return rows;
}

/** The smallest bpw for which every compressed linear of the model gets at least rank 1. */
export function smallestModelBpw(spec: ModelSpec, shape: MethodShape, formula: BitsFormula): number {
  const each = LINEAR_ROLES.map((role) => {
    const { rows, cols } = spec.linearShapes[role];
    const { paths, midScale } = shape;
    if (formula === "honest") return smallestBpw({ rows, cols, paths, midScale });
    return paperBpw(shape.method, { rows, cols, paths, rank: 1, envelope: 1 }) ?? 0;
  });
  return Math.max(...each);
}

function factoredRow(
  spec: ModelSpec,
  site: LinearSite,
  shape: MethodShape,
  bpw: number,
  options: BudgetOptions,
): PlanRow {
  const { rows, cols, bias } = spec.linearShapes[site.role];
  const { method, paths, midScale } = shape;
  const budget = { rows, cols, paths, midScale, bpw };
  const fitting = options.bitsFormula === "honest" ? rankForBits(budget) : rankForPaperBits(method, budget);
  if (fitting < 1) {
    const smallest = smallestModelBpw(spec, shape, options.bitsFormula);
    throw inputError(
      `${bpw} bits per weight were asked for, but a ${rows} x ${cols} linear needs at least ` +
        `${roundUp(smallest)} with ${method}; ask for that or more.`,
    );
  }
  const isKv = site.role === "k" || site.role === "v";
  const wanted = isKv ? Math.max(1, Math.round(fitting * options.kvFactor)) : fitting;
  // Dual-SVID takes its signs from singular vectors, of which there are no more than the smaller dimension.
  const rank = method === "littlebit" ? Math.min(wanted, rows, cols) : wanted;
  const { total } = bitsOfRank({ rows, cols, rank, paths, envelope: 1, midScale, scaleBits: 16 });
  return {
    site,
    name: spec.names.linear(site),
    rows,
    cols,
    kind: "factored",
    rank,
    paths,
    midScale,
    bytes: (total + (bias ? rows * 16 : 0)) / 8,
    bpw: total / (rows * cols),
    paperBpw: paperBpw(method, { rows, cols, rank, paths, envelope: 1 }) ?? total / (rows * cols),
  };
}

function denseRow(spec: ModelSpec, site: LinearSite): PlanRow {
  const { rows, cols, bias } = spec.linearShapes[site.role];
  const { total } = bitsOfDenseMatrix("f16", rows, cols);
  return {
    site,
    name: spec.names.linear(site),
    rows,
    cols,
    kind: "dense",
    rank: 0,
    paths: 0,
    midScale: false,
    bytes: (total + (bias ? rows * 16 : 0)) / 8,
    bpw: total / (rows * cols),
    paperBpw: total / (rows * cols),
  };
}

/** Up to four decimals, never below the value: a suggestion must itself be accepted. */
function roundUp(value: number): number {
  return Math.ceil(value * 1e4) / 1e4;
}
