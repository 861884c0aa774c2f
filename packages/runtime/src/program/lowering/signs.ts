/** Sums of sign products as instructions: for one token tables of the input and sign products over them. */
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
  S_TERMS,
  S_TERM_BYTES,
  S_WEIGHTS,
  TABLE_BYTES_PER_INPUT,
  T_COLS,
  T_ROTATE,
  T_SCALE,
  T_TERMS,
  T_TERM_BYTES,
  W_DST,
  W_DST_STRIDE,
  W_SRC,
  W_SRC_STRIDE,
} from "../../abi.js";
import { pad, type PlacedSigns } from "../../weights/place.js";
import { strideOf, type Value } from "../draft.js";
import type { Emitter } from "../emitter.js";
import type { SignTerms } from "./sign-term.js";
import { emitSignGemm } from "./signs-tile.js";

const PRECISIONS = { 8: LUT8, 12: LUT12, 16: LUT16 } as const;

/**
 * Up to this many inputs (of all terms together) every thread makes all tables for itself: that costs about 1 ns an input, a
 * barrier between shared tables and the product about 400 ns, and with two threads sharing halves the first.
 */
const MAX_OWN_TABLES = 800;

/** Bytes from the tables of a term to those of the next: they start on a cache line. */
export function termBytes(cols: number): number {
  return pad(cols * TABLE_BYTES_PER_INPUT + Math.ceil(cols / SIGN_BLOCK) * 4, 64);
}

/** y (+)= sum_j outScale_j o S (inScale_j o x) (+ bias): the signs are read once for all terms. */
export function emitSigns(emitter: Emitter, x: Value, signs: PlacedSigns, y: Value, terms: SignTerms): void {
  if (emitter.mode === "tile") return emitSignGemm(emitter, x, signs, y, terms);
  const { count, inScales, outScales, accumulate = false, bias = 0 } = terms;
  const cols = pad(signs.cols, SIGN_CHUNK);
  const product = {
    [W_DST]: y,
    [W_DST_STRIDE]: strideOf(y),
    [S_WEIGHTS]: signs.weights,
    [S_ROWS]: pad(signs.rows, SIGN_ROW_TILE),
    [S_COLS]: cols,
    [S_SCALE]: outScales,
    [S_BIAS]: bias,
    [S_ACCUMULATE]: accumulate ? 1 : 0,
    [S_PRECISION]: PRECISIONS[emitter.signBits],
    [S_TERMS]: count,
    [S_TERM_BYTES]: termBytes(cols),
  };
  const sum = accumulate ? [y] : [];
  if (cols * count <= MAX_OWN_TABLES) {
    const source = { [W_SRC]: x, [W_SRC_STRIDE]: strideOf(x), [S_IN_SCALE]: inScales };
    emitter.emit(OP_SIGN_MULTIPLY, [x, ...sum], [y], { ...product, ...source }, accumulate);
    return;
  }
  const tables = emitter.value(count * termBytes(cols));
  emitter.emit(OP_SIGN_TABLES, [x], [tables], {
    [W_SRC]: x,
    [W_SRC_STRIDE]: strideOf(x),
    [W_DST]: tables,
    [W_DST_STRIDE]: tables.rowBytes,
    [T_COLS]: cols,
    [T_SCALE]: inScales,
    [T_ROTATE]: emitter.nextRotation(),
    [T_TERMS]: count,
    [T_TERM_BYTES]: termBytes(cols),
    [S_PRECISION]: PRECISIONS[emitter.signBits],
  });
  const source = { [W_SRC]: tables, [W_SRC_STRIDE]: tables.rowBytes };
  emitter.emit(OP_SIGN_PRODUCT, [tables, ...sum], [y], { ...product, ...source }, accumulate);
}
