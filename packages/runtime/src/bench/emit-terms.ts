/** Envelopes computed in ways that models do not use, to compare with the one they do. */
import { ROW_PAD } from "../abi.js";
import type { Value } from "../program/draft.js";
import type { Emitter } from "../program/emitter.js";
import { emitFactored } from "../program/lowering/factored.js";
import { emitSigns } from "../program/lowering/signs.js";
import { pad, type PlacedFactored } from "../weights/place.js";

/**
 * How the terms of an envelope are computed: `shared` as a model's are, one pass over the signs of a factor for all its l terms;
 * `apart`, a pass for each of the 2 l terms; `pairs`, the product written out as l^2 products of two factors each (what the
 * sum of arXiv 2512.24545 says when it is expanded).
 */
export type TermsForm = "shared" | "apart" | "pairs";

/** y = W x for one path without bias. */
export function emitTerms(
  emitter: Emitter,
  x: Value,
  linear: PlacedFactored,
  y: Value,
  form: TermsForm,
): void {
  if (form === "shared") return emitFactored(emitter, x, linear, y);
  const [{ rank, envelope, inSigns, outSigns, inScales, midIn, midOut, outScales }] = linear.paths;
  const term = (vectors: number, j: number, length: number): number =>
    vectors === 0 ? 0 : vectors + j * pad(length, ROW_PAD) * 4;
  const into = (t: Value, j: number, accumulate: boolean): void =>
    emitSigns(emitter, x, inSigns, t, {
      count: 1,
      inScales: term(inScales, j, linear.cols),
      outScales: term(midIn, j, rank),
      accumulate,
    });
  const out = (t: Value, i: number, accumulate: boolean): void =>
    emitSigns(emitter, t, outSigns, y, {
      count: 1,
      inScales: term(midOut, i, rank),
      outScales: term(outScales, i, linear.rows),
      accumulate,
    });
  if (form === "apart") {
    const t = emitter.rows(rank);
    for (let j = 0; j < envelope; j++) into(t, j, j > 0);
    for (let i = 0; i < envelope; i++) out(t, i, i > 0);
    return;
  }
  for (let j = 0; j < envelope; j++) {
    for (let i = 0; i < envelope; i++) {
      const t = emitter.rows(rank);
      into(t, j, false);
      out(t, i, i + j > 0);
    }
  }
}
