/** Factored linears as instructions: tables of the input, sign products over them. */
import {
  LUT12,
  LUT16,
  LUT8,
  OP_SIGN_MULTIPLY,
  OP_SIGN_PRODUCT,
  OP_SIGN_TABLES,
  SIGN_BLOCK,
  SIGN_CHUNK,
  SIGN_ROW_TILE,
  S_ACCUMULATE,
  S_BIAS,
  S_COLS,
  S_IN_SCALE,
  S_PRECISION,
  S_ROWS,
  S_SCALE,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  T_COLS,
  T_ROTATE,
  T_SCALE,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../../abi.js";
import { pad, type PlacedFactored, type PlacedSigns } from "../../weights/place.js";
import { strideOf, type Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import type { SignTerm } from "./sign-term.js";
import { emitSignGemm } from "./factored-tile.js";

/** t = sum_j g_j o S_in (b_j o x), y = sum_i a_i o S_out (q_i o t), summed over paths: 2 l sign products a path. */
export function emitFactored(emitter: Emitter, x: Value, linear: PlacedFactored, y: Value): void {
  linear.paths.forEach((path, p) => {
    const t = emitter.rows(path.rank);
    path.inScales.forEach((inScale, j) =>
      emitSigns(emitter, x, path.inSigns, t, {
        inScale,
        outScale: path.midIn[j],
        accumulate: j > 0,
        bias: 0,
      }),
    );
    path.outScales.forEach((outScale, i) => {
      const last = p === linear.paths.length - 1 && i === path.outScales.length - 1;
      emitSigns(emitter, t, path.outSigns, y, {
        inScale: path.midOut[i],
        outScale,
        accumulate: p > 0 || i > 0,
        bias: last ? linear.bias : 0,
      });
    });
  });
}

const PRECISIONS = { 8: LUT8, 12: LUT12, 16: LUT16 } as const;

/**
 * Up to this many inputs every thread makes all tables for itself: that costs about 1 ns an input, a barrier between shared
 * tables and the product about 400 ns, and with two threads sharing halves the first.
 */
const MAX_OWN_TABLES = 800;

/** y (+)= outScale o S (inScale o x) (+ bias) */
function emitSigns(emitter: Emitter, x: Value, signs: PlacedSigns, y: Value, term: SignTerm): void {
  if (emitter.mode === "tile") return emitSignGemm(emitter, x, signs, y, term);
  const cols = pad(signs.cols, SIGN_CHUNK);
  const product = {
    [W_DST]: y,
    [W_DST_STRIDE]: strideOf(y),
    [S_WEIGHTS]: signs.weights,
    [S_ROWS]: pad(signs.rows, SIGN_ROW_TILE),
    [S_COLS]: cols,
    [S_SCALE]: term.outScale,
    [S_BIAS]: term.bias,
    [S_ACCUMULATE]: term.accumulate ? 1 : 0,
    [S_PRECISION]: PRECISIONS[emitter.signBits],
  };
  const sum = term.accumulate ? [y] : [];
  if (emitter.mode === "token" && cols <= MAX_OWN_TABLES) {
    const source = { [W_SRC]: x, [W_SRC_STRIDE]: strideOf(x), [S_IN_SCALE]: term.inScale };
    emitter.emit(OP_SIGN_MULTIPLY, [x, ...sum], [y], { ...product, ...source }, term.accumulate);
    return;
  }
  const steps = Math.ceil(cols / SIGN_BLOCK);
  // Tables start on a cache line, so a row of them is a whole number of lines.
  const tables = emitter.value(pad(cols * TABLE_BYTES_PER_INPUT + steps * 4, 64));
  emitter.emit(OP_SIGN_TABLES, [x], [tables], {
    [W_SRC]: x,
    [W_SRC_STRIDE]: strideOf(x),
    [W_DST]: tables,
    [W_DST_STRIDE]: tables.rowBytes,
    [T_COLS]: cols,
    [T_SCALE]: term.inScale,
    [T_ROTATE]: emitter.nextRotation(),
    [S_PRECISION]: PRECISIONS[emitter.signBits],
  });
  const source = { [W_SRC]: tables, [W_SRC_STRIDE]: tables.rowBytes };
  emitter.emit(OP_SIGN_PRODUCT, [tables, ...sum], [y], { ...product, ...source }, term.accumulate);
}
