/** Sign products of many tokens: one instruction rounds the inputs, makes the entries and adds them up. */
import {
  S_IN_SCALE,
  OP_SIGN_GEMM,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_ROWS,
  S_SCALE,
  S_WEIGHTS,
} from "../../abi.js";
import { pad, type PlacedSigns } from "../../weights/place.js";
import type { Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import type { SignTerm } from "./sign-term.js";
import { between } from "./rows.js";

/** y (+)= outScale o S (inScale o x) (+ bias) */
export function emitSignGemm(emitter: Emitter, x: Value, signs: PlacedSigns, y: Value, term: SignTerm): void {
  emitter.emit(
    OP_SIGN_GEMM,
    term.accumulate ? [x, y] : [x],
    [y],
    {
      ...between(x, y),
      [S_WEIGHTS]: signs.weights,
      [S_ROWS]: pad(signs.rows, SIGN_ROW_TILE),
      [S_COLS]: pad(signs.cols, SIGN_CHUNK),
      [S_SCALE]: term.outScale,
      [S_BIAS]: term.bias,
      [S_ACCUMULATE]: term.accumulate ? 1 : 0,
      [S_IN_SCALE]: term.inScale,
    },
    term.accumulate,
  );
}
