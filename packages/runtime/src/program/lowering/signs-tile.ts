/** Sign products of many tokens: one instruction rounds the inputs, makes the entries and adds them up. */
import {
  S_IN_SCALE,
  OP_SIGN_GEMM,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_HEAD_ONLY,
  S_ROWS,
  S_SCALE,
  S_TERMS,
  S_WEIGHTS,
} from "../../abi.js";
import { pad, type PlacedSigns } from "../../weights/place.js";
import type { Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import type { SignTerms } from "./sign-term.js";
import { between } from "./rows.js";

/** y (+)= sum_j outScale_j o S (inScale_j o x) (+ bias) */
export function emitSignGemm(
  emitter: Emitter,
  x: Value,
  signs: PlacedSigns,
  y: Value,
  terms: SignTerms,
): void {
  const { accumulate = false, bias = 0, headOnly = false } = terms;
  emitter.emit(
    OP_SIGN_GEMM,
    accumulate ? [x, y] : [x],
    [y],
    {
      ...between(x, y),
      [S_WEIGHTS]: signs.weights,
      [S_ROWS]: pad(signs.rows, SIGN_ROW_TILE),
      [S_COLS]: pad(signs.cols, SIGN_CHUNK),
      [S_SCALE]: terms.outScales,
      [S_BIAS]: bias,
      [S_ACCUMULATE]: accumulate ? 1 : 0,
      [S_IN_SCALE]: terms.inScales,
      [S_TERMS]: terms.count,
      [S_HEAD_ONLY]: headOnly ? 1 : 0,
    },
    accumulate,
  );
}
