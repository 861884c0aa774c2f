/**
 * How far two models' weights are apart. Packed linears are compared in a normal form of their signs and scales first:
 * equal ones compute exactly the same, and multiplying out the factors of a large model would take hours.
 */
import { inputError, throwIfAborted } from "../errors.js";
import { denseRow } from "../linears/dense-linear.js";
import { balanceScales, canonicalisePath, reconstructRows } from "../linears/factored-linear.js";
import { balanceOneBit, canonicaliseOneBit, oneBitMatrix } from "../linears/onebit-linear.js";
import type { FactoredLinear, FactoredPath, Linear, OneBitLinear, Table } from "../linears/types.js";
import { endMatrix, type Model } from "../model/model.js";
import { endTensors } from "../model/check-ends.js";
import { normSites } from "../model/spec.js";
import type { OnProgress } from "../progress.js";

export interface CompareOptions {
  /** @default none */
  readonly onProgress?: OnProgress | undefined;
  /** @default none */
  readonly signal?: AbortSignal | undefined;
}

/** Rows that are multiplied out at once. */
const ROWS_AT_ONCE = 512;

/**
 * The largest absolute difference of any effective weight, bias, norm, embedding or head. 0 means that both compute the
 * same. Throws `input` for models of different shapes.
 */
export async function maxWeightDifference(a: Model, b: Model, options: CompareOptions = {}): Promise<number> {
  const { spec } = a;
  if (b.spec.layers !== spec.layers || b.spec.tiedHead !== spec.tiedHead)
    throw inputError(`${a.checkpoint.name} and ${b.checkpoint.name} are of different shapes.`);
  let worst = 0;
  const note = (difference: number): void => {
    // Stays NaN once it was.
    worst = Math.max(worst, difference);
  };
  note(await tableDifference(await a.embedding(), await b.embedding(), options.signal));
  const total = spec.layers * spec.linears.length;
  let done = 0;
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const role of spec.linears) {
      const [left, right] = [await a.linear({ layer, role }), await b.linear({ layer, role })];
      note(await linearDifference(left, right, options.signal));
      note(vectorDifference(left.bias, right.bias));
      options.onProgress?.({ stage: "compare", done: ++done, total, unit: "linears" });
    }
  }
  for (const site of normSites(spec)) {
    const [left, right] = [await a.norm(site), await b.norm(site)];
    note(vectorDifference(left.weight, right.weight));
    note(vectorDifference(left.bias, right.bias));
  }
  for (const { end } of endTensors(spec)) {
    const [left, right] = [await endMatrix(a, end), await endMatrix(b, end)];
    note(await tableDifference(left, right, options.signal));
  }
  if (!spec.tiedHead) note(await tableDifference(await a.head(), await b.head(), options.signal));
  return worst;
}

async function linearDifference(a: Linear, b: Linear, signal: AbortSignal | undefined): Promise<number> {
  if (a.kind === "onebit" || b.kind === "onebit") {
    // One with a LayerNorm and one without are no two versions of the same.
    if (a.kind !== "onebit" || b.kind !== "onebit") return Infinity;
    return oneBitDifference(a, b);
  }
  return tableDifference(a, b, signal);
}

async function tableDifference(a: Table, b: Table, signal: AbortSignal | undefined): Promise<number> {
  if (a.rows !== b.rows || a.cols !== b.cols) return Infinity;
  if (a.kind === "factored" && b.kind === "factored" && sameFactors(a, b)) return 0;
  let worst = 0;
  for (let begin = 0; begin < a.rows; begin += ROWS_AT_ONCE) {
    throwIfAborted(signal);
    // Lets a signal through between pieces of work.
    await new Promise((resolve) => setTimeout(resolve));
    const rows = Array.from({ length: Math.min(ROWS_AT_ONCE, a.rows - begin) }, (_, i) => begin + i);
    worst = Math.max(worst, vectorDifference(rowsOf(a, rows), rowsOf(b, rows)));
  }
  return worst;
}

function rowsOf(table: Table, rows: readonly number[]): Float32Array {
  if (table.kind === "factored") return reconstructRows(table, rows);
  const { cols } = table;
  const values = new Float32Array(rows.length * cols);
  rows.forEach((row, i) => denseRow(table, row, values.subarray(i * cols, (i + 1) * cols)));
  return values;
}

function sameFactors(a: FactoredLinear, b: FactoredLinear): boolean {
  return (
    a.paths.length === b.paths.length &&
    a.paths.every((path, p) => {
      const [left, right] = [normalPath(path), normalPath(b.paths[p])];
      return (
        left.rank === right.rank &&
        left.envelope === right.envelope &&
        sameValues(left.outSigns.words, right.outSigns.words) &&
        sameValues(left.inSigns.words, right.inSigns.words) &&
        sameValues(left.outScales, right.outScales) &&
        sameValues(left.inScales, right.inScales) &&
        sameValues(left.midIn, right.midIn) &&
        sameValues(left.midOut, right.midOut)
      );
    })
  );
}

/** With middle scales of ones where there are none, and what can move between signs and scales at its place. */
function normalPath(path: FactoredPath): FactoredPath {
  const ones = (): Float32Array => new Float32Array(path.rank * path.envelope).fill(1);
  const whole: FactoredPath = {
    ...path,
    midIn: path.midIn ?? ones(),
    ...(path.envelope > 1 && { midOut: path.midOut ?? ones() }),
  };
  return balanceScales(canonicalisePath(whole));
}

function oneBitDifference(a: OneBitLinear, b: OneBitLinear): number {
  if (a.rows !== b.rows || a.cols !== b.cols) return Infinity;
  const [left, right] = [normalOneBit(a), normalOneBit(b)];
  const same =
    sameValues(left.signs.words, right.signs.words) &&
    sameValues(left.outScales, right.outScales) &&
    sameValues(left.inScales, right.inScales);
  return same ? 0 : vectorDifference(oneBitMatrix(a), oneBitMatrix(b));
}

function normalOneBit(linear: OneBitLinear): OneBitLinear {
  return balanceOneBit(canonicaliseOneBit(linear));
}

function sameValues(
  a: Float32Array | Uint32Array | undefined,
  b: Float32Array | Uint32Array | undefined,
): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

/** An absent bias is one of zeros. */
function vectorDifference(a: Float32Array | undefined, b: Float32Array | undefined): number {
  const length = a?.length ?? b?.length ?? 0;
  if ((a?.length ?? length) !== (b?.length ?? length)) return Infinity;
  let worst = 0;
  for (let i = 0; i < length; i++) {
    worst = Math.max(worst, Math.abs((a?.[i] ?? 0) - (b?.[i] ?? 0)));
  }
  return worst;
}
