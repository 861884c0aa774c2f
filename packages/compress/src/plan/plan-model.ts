/** `planModel`: from a model and a budget to a plan, before anything is read or computed. */
import { inputError, type Model, type ModelSpec, SubbitError } from "@subbit/core";
import type { EmbedBits, Method } from "../choices.js";
import type { PlanOptions } from "../options.js";
import { factoriseMethod, METHODS } from "./methods.js";
import { type BudgetOptions, type MethodShape, planRows, smallestModelBpw } from "./budget.js";
import { fileLayout } from "./file-layout.js";
import type { Plan, PlanRow, PlanTotals } from "./plan.js";

/** The default size where neither `bpw` nor `bytes` is given. */
export const DEFAULT_BPW = 0.8;
/** Bisection steps of a byte budget: enough to tell any two ranks of any shape apart. */
const BISECTIONS = 48;
/** Above it a factored linear is no longer smaller than the dense f16 one. */
const LARGEST_BPW = 16;

/**
 * The best measured method at every size tried (docs/compress.md): one path from ADMM without a middle scale, whose bits
 * buy more as rank.
 */
const AUTO_METHOD: Method = "nanoquant";

/**
 * Sizes every linear. Throws `usage` for options that exclude one another and `input` for a budget that is too small,
 * naming the smallest possible one.
 */
export function planModel(model: Model, options: PlanOptions = {}): Plan {
  return planSpec(model.spec, options, model.checkpoint.fileBytes);
}

/** The same from a spec alone. */
export function planSpec(spec: ModelSpec, options: PlanOptions, teacherBytes: number): Plan {
  const { bitsFormula = "honest", embedBits = 16 } = options;
  const method = options.method === undefined || options.method === "auto" ? AUTO_METHOD : options.method;
  const defaults = METHODS[method];
  const shape = { method, paths: options.paths ?? defaults.paths, midScale: defaults.midScale };
  const init = options.init ?? defaults.init;
  if (init === "dual-svid" && !shape.midScale) {
    throw new SubbitError(
      "usage",
      `Method ${method} has no middle scale, so it cannot start by dual-svid; use admm.`,
    );
  }
  const budget = checkedBudget(spec, options);
  const at = (bpw: number) => {
    const rows = planRows(spec, shape, bpw, budget);
    return { rows, totals: totalsOf(spec, method, rows, embedBits, teacherBytes) };
  };
  const targetBpw =
    options.bytes === undefined
      ? (options.bpw ?? DEFAULT_BPW)
      : bpwOfBytes(spec, shape, budget, options.bytes, at);
  if (!(targetBpw > 0 && targetBpw <= LARGEST_BPW)) {
    throw new SubbitError(
      "usage",
      `${targetBpw} bits per weight were asked for; give a number above 0, at most 16.`,
    );
  }
  const factoriser = factoriseMethod(method, init);
  return { method, init, factoriser, bitsFormula, targetBpw, embedBits, ...at(targetBpw) };
}

function checkedBudget(spec: ModelSpec, options: PlanOptions): BudgetOptions {
  const { bitsFormula = "honest", kvFactor = 1, keepFirst = 0, keepLast = 0, paths = 1 } = options;
  if (options.bpw !== undefined && options.bytes !== undefined) {
    throw new SubbitError("usage", "Both bits per weight and bytes were given; give one of them.");
  }
  if (!(kvFactor > 0))
    throw new SubbitError("usage", `The k/v factor is ${kvFactor}; give a number above 0.`);
  if (!Number.isInteger(paths) || paths < 1 || paths > 8) {
    throw new SubbitError("usage", `${paths} paths were asked for; give a whole number from 1 to 8.`);
  }
  for (const kept of [keepFirst, keepLast]) {
    if (!Number.isInteger(kept) || kept < 0) {
      throw new SubbitError("usage", `${kept} blocks were asked to stay dense; give a whole number from 0.`);
    }
  }
  if (keepFirst + keepLast >= spec.layers) {
    throw new SubbitError(
      "usage",
      `${keepFirst} first and ${keepLast} last blocks were asked to stay dense, but the model has ${spec.layers}; keep fewer.`,
    );
  }
  return { bitsFormula, kvFactor, keepFirst, keepLast };
}

type AtBpw = (bpw: number) => { rows: PlanRow[]; totals: PlanTotals };

/** The largest bpw whose file fits. */
function bpwOfBytes(
  spec: ModelSpec,
  shape: MethodShape,
  budget: BudgetOptions,
  bytes: number,
  at: AtBpw,
): number {
  let low = smallestModelBpw(spec, shape, budget.bitsFormula);
  const smallest = at(low).totals.fileBytes;
  if (smallest > bytes) {
    throw inputError(
      `${bytes} bytes were asked for, but the smallest file of this model has ${smallest} ` +
        `(of them ${at(low).totals.embeddingBytes + at(low).totals.headBytes} for embedding and head); ` +
        `ask for more or for smaller --embed-bits.`,
    );
  }
  let high = LARGEST_BPW;
  if (at(high).totals.fileBytes <= bytes) return high;
  for (let i = 0; i < BISECTIONS; i++) {
    const middle = (low + high) / 2;
    if (at(middle).totals.fileBytes <= bytes) low = middle;
    else high = middle;
  }
  return low;
}

function totalsOf(
  spec: ModelSpec,
  method: Method,
  rows: readonly PlanRow[],
  embedBits: EmbedBits,
  teacherBytes: number,
): PlanTotals {
  const { bytes, fileBytes } = fileLayout(spec, method, rows, embedBits);
  const sum = (of: readonly PlanRow[], value: (row: PlanRow) => number) =>
    of.reduce((s, row) => s + value(row), 0);
  const weights = (row: PlanRow) => row.rows * row.cols;
  const compressed = rows.filter((row) => row.kind === "factored");
  const linearWeights = sum(rows, weights);
  const compressedWeights = sum(compressed, weights);
  const linearBytes = bytes.signs + bytes.scales + bytes.dense + bytes.biases;
  const tensorBytes = linearBytes + bytes.embeddings + bytes.head + bytes.norms;
  return {
    bpw: sum(rows, (row) => row.bpw * weights(row)) / linearWeights,
    compressedBpw: sum(compressed, (row) => row.bpw * weights(row)) / compressedWeights,
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
