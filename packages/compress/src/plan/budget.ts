/** The same bits per weight for every linear: the ranks that fit a budget, and what they cost. */
import {
  inputError,
  linearSites,
  type LinearSite,
  type ModelSpec,
  paperBpw,
  rankForBits,
  rankForPaperBits,
  smallestBpw,
} from "@subbit/core";
import type { BitsFormula, Init } from "../choices.js";
import { isOneBit, largestRank, type MethodShape } from "./methods.js";
import type { PlanRow } from "./plan.js";
import { denseRow, factoredRow, oneBitRow } from "./rows.js";

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
  init: Init,
  bpw: number,
  options: BudgetOptions,
): PlanRow[] {
  return linearSites(spec).map((site) => {
    if (isKept(spec, site, options)) return denseRow(spec, site);
    if (isOneBit(shape.method)) return oneBitRow(spec, site, shape.method, shape.scaleBits);
    const rank = rankFor(spec, site, shape, init, bpw, options);
    return factoredRow(spec, site, shape, Array<number>(shape.paths).fill(rank));
  });
}

/** Whether the linear's block was asked to stay dense. */
export function isKept(
  spec: ModelSpec,
  { layer }: LinearSite,
  { keepFirst, keepLast }: Pick<BudgetOptions, "keepFirst" | "keepLast">,
): boolean {
  return layer < keepFirst || layer >= spec.layers - keepLast;
}

/** The smallest bpw for which every compressed linear of the model gets at least rank 1. */
export function smallestModelBpw(spec: ModelSpec, shape: MethodShape, formula: BitsFormula): number {
  const each = spec.linears.map((role) => {
    const { rows, cols } = spec.linearShapes[role];
    const { method, paths, envelope } = shape;
    if (formula === "honest") return smallestBpw({ rows, cols, ...storage(shape) });
    return paperBpw(method, { rows, cols, paths, rank: 1, envelope }) ?? 0;
  });
  return Math.max(...each);
}

/** What decides the bits of a rank. */
export function storage({ paths, envelope, midScale, scaleBits }: MethodShape) {
  return { paths, envelope, midScale, scaleBits };
}

function rankFor(
  spec: ModelSpec,
  site: LinearSite,
  shape: MethodShape,
  init: Init,
  bpw: number,
  options: BudgetOptions,
): number {
  const { rows, cols } = spec.linearShapes[site.role];
  const { method } = shape;
  const budget = { rows, cols, ...storage(shape), bpw };
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
  return Math.min(wanted, largestRank(method, init, rows, cols));
}

/** Up to four decimals, never below the value: a suggestion must itself be accepted. */
export function roundUp(value: number): number {
  return Math.ceil(value * 1e4 - 1e-9) / 1e4;
}
